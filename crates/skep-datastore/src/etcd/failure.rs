//! Why a call failed, in the few ways a caller can act on.

use tonic::{Code, Status};

/// A call that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Nobody answered, or the answer came too late; the call may or may not have been carried out.
    #[error("{0}")]
    Unavailable(String),
    /// What was to be added is there.
    #[error("it exists already")]
    Exists,
    /// What was named is not there.
    #[error("it does not exist")]
    Missing,
    /// Users or roles changed between the arrival of the call and its execution; it was not carried out.
    #[error("users and roles are being changed")]
    OldRevision,
    /// History was dropped that far already.
    #[error("its history was dropped already")]
    Compacted,
    /// etcd understood and refused.
    #[error("{0}")]
    Refused(String),
}

impl Failure {
    /// Reads a gRPC status. etcd's own errors are told apart by their text, as its Go client does
    /// (`api/v3rpc/rpctypes/error.go`): several of them share one status code.
    pub(crate) fn from_status(status: &Status) -> Self {
        match status.message() {
            "etcdserver: user name already exists" | "etcdserver: role name already exists" => Self::Exists,
            "etcdserver: user name not found"
            | "etcdserver: role name not found"
            | "etcdserver: role is not granted to the user"
            | "etcdserver: permission is not granted to the role" => Self::Missing,
            "etcdserver: revision of auth store is old" => Self::OldRevision,
            "etcdserver: mvcc: required revision has been compacted" => Self::Compacted,
            text => match status.code() {
                Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::Aborted => {
                    Self::Unavailable(describe(status))
                }
                // The transport reports a broken connection as unknown or internal, with a source and no text of etcd.
                Code::Unknown | Code::Internal if !text.starts_with("etcdserver:") => {
                    Self::Unavailable(describe(status))
                }
                // "too many requests" passes; "database space exceeded" does not, and says what to do.
                Code::ResourceExhausted if text.contains("too many requests") => {
                    Self::Unavailable(describe(status))
                }
                _ => Self::Refused(describe(status)),
            },
        }
    }
}

/// The innermost reason: "connection refused" says more than "transport error".
fn describe(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            if !text.is_empty() {
                text.push_str(": ");
            }
            text.push_str(&inner_text);
        }
        source = inner.source();
    }
    if text.is_empty() { status.code().description().to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn etcd_errors_of_one_code_are_told_apart() {
        let of = |code, text: &str| Failure::from_status(&Status::new(code, text));
        let failed = Code::FailedPrecondition;
        assert_eq!(of(failed, "etcdserver: user name already exists"), Failure::Exists);
        assert_eq!(of(failed, "etcdserver: role name not found"), Failure::Missing);
        assert!(matches!(of(failed, "etcdserver: authentication is not enabled"), Failure::Refused(_)));
        assert_eq!(
            of(Code::InvalidArgument, "etcdserver: revision of auth store is old"),
            Failure::OldRevision
        );
    }

    #[test]
    fn only_what_passes_by_itself_is_unavailable() {
        let unavailable = |code, text: &str| {
            matches!(Failure::from_status(&Status::new(code, text)), Failure::Unavailable(_))
        };
        assert!(unavailable(Code::Unavailable, "etcdserver: leader changed"));
        assert!(unavailable(Code::Unknown, "transport error"));
        assert!(unavailable(Code::ResourceExhausted, "etcdserver: too many requests"));
        assert!(!unavailable(Code::ResourceExhausted, "etcdserver: mvcc: database space exceeded"));
        assert!(!unavailable(Code::PermissionDenied, "etcdserver: permission denied"));
    }
}
