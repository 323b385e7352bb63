//! One error for every call made through this crate: which verb on which object failed, and why.

use std::time::Duration;

use crate::reconcile::{Classify, ErrorClass};

/// Result with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A call to the API server that failed, with the object it was about.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server refused or could not be reached.
    #[error("cannot {verb} {kind} {object}: {}", describe(source))]
    Api {
        /// What was tried: `apply`, `get`, `delete`, …
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// `namespace/name`, or what was listed.
        object: String,
        /// The client's error.
        #[source]
        source: kube::Error,
    },
    /// A manifest could not be turned into JSON; this is a defect of the builder.
    #[error("cannot serialise {kind} {object}: {source}")]
    Serialise {
        /// Kind of the object.
        kind: String,
        /// `namespace/name`.
        object: String,
        /// The serialiser's error.
        #[source]
        source: serde_json::Error,
    },
    /// Text of our own that should be manifests is none; this is a defect of what it was made from.
    #[error("the manifests of {what} cannot be read: {reason}")]
    Unreadable {
        /// What they are of.
        what: &'static str,
        /// What is wrong, and where.
        reason: String,
    },
    /// An object that must have a name has none; this is a defect of the builder.
    #[error("a {kind} without {field} was given to {verb}")]
    Incomplete {
        /// What was tried.
        verb: &'static str,
        /// Kind of the object.
        kind: String,
        /// The missing field.
        field: &'static str,
    },
}

impl Error {
    /// The API server's answer to `verb` on `object` of kind `K`.
    pub fn api<K: kube::Resource<DynamicType = ()>>(
        verb: &'static str,
        object: impl ToString,
        source: kube::Error,
    ) -> Self {
        Self::Api { verb, kind: K::kind(&()).into_owned(), object: object.to_string(), source }
    }

    /// The underlying client error, if the failure came from the API.
    pub fn kube(&self) -> Option<&kube::Error> {
        match self {
            Self::Api { source, .. } => Some(source),
            _ => None,
        }
    }

    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        self.kube().is_some_and(is_not_found)
    }

    /// Somebody else changed the object meanwhile.
    pub fn is_conflict(&self) -> bool {
        self.kube().is_some_and(is_conflict)
    }
}

/// `true` if the API server said that the object does not exist.
pub fn is_not_found(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_not_found() || status.code == 404)
}

/// `true` if the API server said that somebody else changed the object meanwhile.
pub fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_conflict())
}

/// `true` if a create failed because the object is already there.
pub fn is_already_exists(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.is_already_exists())
}

/// The message for people: the server's own words without the debug dump that kube appends.
pub fn describe(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        kube::Error::Api(status) => format!("the API server answered {} {}", status.code, status.reason),
        other => {
            // The chain matters here: "client error (Connect)" alone says nothing.
            let (mut text, mut source) = match other {
                kube::Error::Service(inner) => (inner.to_string(), std::error::Error::source(inner.as_ref())),
                other => (other.to_string(), std::error::Error::source(other)),
            };
            while let Some(inner) = source {
                let inner_text = inner.to_string();
                if !text.contains(&inner_text) {
                    text.push_str(": ");
                    text.push_str(&inner_text);
                }
                source = inner.source();
            }
            text
        }
    }
}

impl Classify for kube::Error {
    /// Invalid objects stay invalid until something changes; all else may pass by itself.
    ///
    /// Forbidden is transient on purpose: a missing role is repaired without
    /// touching the object that waits for it.
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api(status) if status.code == 429 => {
                let wait = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
                if wait > 0 {
                    ErrorClass::Waiting(Duration::from_secs(u64::from(wait.min(60))))
                } else {
                    ErrorClass::Transient
                }
            }
            Self::Api(status) if status.is_invalid() || status.code == 400 || status.code == 413 => {
                ErrorClass::Permanent
            }
            Self::BuildRequest(_) => ErrorClass::Permanent,
            _ => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api(status) => match status.code {
                400 => "BadRequest",
                401 => "Unauthorized",
                403 => "Forbidden",
                404 => "NotFound",
                409 => "Conflict",
                413 => "RequestTooLarge",
                422 => "Invalid",
                429 => "TooManyRequests",
                500..=599 => "ServerError",
                _ => "ApiError",
            },
            Self::SerdeError(_) => "UnexpectedAnswer",
            Self::BuildRequest(_) => "BadRequest",
            _ => "Unreachable",
        }
    }
}

impl Classify for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Api { source, .. } => source.class(),
            Self::Serialise { .. } | Self::Unreadable { .. } | Self::Incomplete { .. } => {
                ErrorClass::Permanent
            }
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Api { source, .. } => source.reason(),
            Self::Serialise { .. } | Self::Unreadable { .. } | Self::Incomplete { .. } => "InvalidManifest",
        }
    }
}

/// [`describe`] for what the watcher reports.
pub(crate) fn describe_watch(error: &kube::runtime::watcher::Error) -> String {
    use kube::runtime::watcher::Error::{
        InitialListFailed, NoResourceVersion, WatchError, WatchFailed, WatchStartFailed,
    };
    match error {
        InitialListFailed(source) => format!("listing failed: {}", describe(source)),
        WatchStartFailed(source) => format!("the watch did not start: {}", describe(source)),
        WatchFailed(source) => format!("the watch broke: {}", describe(source)),
        WatchError(status) => format!("the API server ended the watch: {}", status.message),
        NoResourceVersion => "the API server gave no resourceVersion".to_owned(),
    }
}

/// The version the watch wants to go on from is no longer kept by the server.
pub(crate) fn is_expired(error: &kube::runtime::watcher::Error) -> bool {
    matches!(error, kube::runtime::watcher::Error::WatchStartFailed(kube::Error::Api(status)) if status.code == 410)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::core::{Status, response::StatusDetails};

    fn api(code: u16, reason: &str) -> kube::Error {
        let status =
            Status { message: "it said so".into(), reason: reason.into(), code, ..Status::default() };
        kube::Error::Api(Box::new(status))
    }

    #[test]
    fn what_may_pass_by_itself_is_tried_again_and_what_may_not_waits_for_a_change() {
        for (code, reason, class, name) in [
            (400, "BadRequest", ErrorClass::Permanent, "BadRequest"),
            (403, "Forbidden", ErrorClass::Transient, "Forbidden"),
            (404, "NotFound", ErrorClass::Transient, "NotFound"),
            (409, "Conflict", ErrorClass::Transient, "Conflict"),
            (422, "Invalid", ErrorClass::Permanent, "Invalid"),
            (429, "TooManyRequests", ErrorClass::Transient, "TooManyRequests"),
            (500, "InternalError", ErrorClass::Transient, "ServerError"),
            (503, "ServiceUnavailable", ErrorClass::Transient, "ServerError"),
        ] {
            let error = api(code, reason);
            assert_eq!((error.class(), error.reason()), (class, name), "{code}");
        }
    }

    #[test]
    fn the_server_may_say_how_long_to_wait_but_not_for_ever() {
        for (said, waits) in [(7, 7), (100_000, 60)] {
            let kube::Error::Api(mut status) = api(429, "TooManyRequests") else { unreachable!() };
            let details: StatusDetails =
                serde_json::from_value(serde_json::json!({"retryAfterSeconds": said})).unwrap();
            status.details = Some(details);
            assert_eq!(kube::Error::Api(status).class(), ErrorClass::Waiting(Duration::from_secs(waits)));
        }
    }

    #[test]
    fn people_read_what_was_tried_on_which_object_and_why_it_failed() {
        use k8s_openapi::api::core::v1::Secret;
        let error = Error::api::<Secret>("apply", crate::Key::namespaced("n", "a"), api(403, "Forbidden"));
        assert_eq!(error.to_string(), "cannot apply Secret n/a: it said so");
        let error = Error::Incomplete { verb: "apply", kind: "Secret".into(), field: "metadata.name" };
        assert_eq!(error.to_string(), "a Secret without metadata.name was given to apply");
        let refused = kube::Error::Service(std::io::Error::other("connection refused").into());
        assert_eq!(describe(&refused), "connection refused");
    }
}
