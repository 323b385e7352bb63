//! Refusals, in the API server's own form and words.

use serde_json::{Value, json};

use super::kinds::Kind;

/// A refused request.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
}

impl Failure {
    pub(crate) fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Self { code, reason, message: message.into(), details: Value::Null }
    }

    fn about(self, kind: &Kind, name: &str) -> Self {
        self.of(kind, name, &kind.plural)
    }

    fn of(mut self, kind: &Kind, name: &str, what: &str) -> Self {
        self.details = json!({ "name": name, "group": kind.group, "kind": what });
        if kind.group.is_empty()
            && let Some(details) = self.details.as_object_mut()
        {
            details.remove("group");
        }
        self
    }

    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{} \"{name}\" not found", kind.qualified())).about(kind, name)
    }

    /// With details that say nothing, where upstream sends them so.
    pub(crate) fn with_details(mut self) -> Self {
        self.details = json!({});
        self
    }

    /// A subresource that the resource does not have.
    pub(crate) fn no_subresource() -> Self {
        Self::new(404, "NotFound", "the server could not find the requested resource").with_details()
    }

    /// A path that nothing serves: not even a status object is sent.
    pub(crate) fn no_route() -> Self {
        Self::new(404, "", "404 page not found\n")
    }

    /// Server-side apply without saying who applies.
    pub(crate) fn nameless_apply() -> Self {
        let message = "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch";
        let mut failure = Self::new(422, "Invalid", message);
        failure.details = json!({"group": "meta.k8s.io", "kind": "PatchOptions"});
        failure
    }

    /// The body as it is sent.
    pub(crate) fn body(&self) -> String {
        if self.reason.is_empty() { self.message.clone() } else { self.status().to_string() }
    }

    pub(crate) fn already_exists(kind: &Kind, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.qualified()))
            .about(kind, name)
    }

    pub(crate) fn modified(kind: &Kind, name: &str) -> Self {
        Self::conflict(
            kind,
            name,
            "the object has been modified; please apply your changes to the latest version and try again",
        )
    }

    pub(crate) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {} \"{name}\": {why}", kind.qualified());
        Self::new(409, "Conflict", message).about(kind, name)
    }

    pub(crate) fn invalid(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{}{} \"{name}\" is invalid: {why}", kind.kind, dotted(&kind.group));
        Self::new(422, "Invalid", message).of(kind, name, &kind.kind)
    }

    /// A precondition of a deletion that does not hold; upstream names the kind here, not the resource.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {}{} \"{name}\": {why}",
            kind.kind,
            dotted(&kind.group)
        );
        Self::new(409, "Conflict", message).of(kind, name, &kind.kind)
    }

    /// A blind overwrite of a custom resource; upstream names the resource here, not the kind.
    pub(crate) fn unversioned(kind: &Kind, name: &str) -> Self {
        let why = "metadata.resourceVersion: Invalid value: 0: must be specified for an update";
        Self::new(422, "Invalid", format!("{} \"{name}\" is invalid: {why}", kind.qualified()))
            .about(kind, name)
    }

    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    pub(crate) fn terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let message = format!(
            "{} \"{name}\" is forbidden: unable to create new content in namespace {namespace} because it is being terminated",
            kind.qualified()
        );
        let mut failure = Self::new(403, "Forbidden", message).about(kind, name);
        failure.details["causes"] = json!([{
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        }]);
        failure
    }

    pub(crate) fn expired() -> Self {
        Self::new(410, "Expired", "too old resource version")
    }

    /// The `Status` object that is sent.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "reason": self.reason, "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }
}

fn dotted(group: &str) -> String {
    if group.is_empty() { String::new() } else { format!(".{group}") }
}
