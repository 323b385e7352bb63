//! The smallest strategic merge patch from one pod status to another.
//!
//! Only fields a node owns are ever named, so a concurrent writer of another condition loses nothing.

use k8s_openapi::api::core::v1::PodStatus;
use serde_json::{Map, Value, json};

use super::conditions::owned;

/// Fields of a pod's status that a node writes and that are replaced as a whole.
const FIELDS: [&str; 10] = [
    "phase",
    "reason",
    "message",
    "hostIP",
    "podIP",
    "startTime",
    "observedGeneration",
    "containerStatuses",
    "initContainerStatuses",
    "ephemeralContainerStatuses",
];
/// Objects in a container's status that mean nothing when empty.
const EMPTY_IS_ABSENT: [&str; 5] = ["state", "lastState", "resources", "allocatedResources", "user"];
/// Lists that upstream merges by key (`patchStrategy: merge`) and of which a node nevertheless owns every entry.
const MERGED_LISTS: [&str; 2] = ["hostIPs", "podIPs"];

/// The patch, `None` when nothing differs. It carries the pod's uid: for a pod that was replaced by one of the same
/// name the API server answers with a conflict.
///
/// # Errors
/// When a status cannot be written as JSON, which no status from this crate does.
pub fn patch(old: &PodStatus, new: &PodStatus, uid: &str) -> Result<Option<Value>, serde_json::Error> {
    let (mut old, mut new) = (serde_json::to_value(old)?, serde_json::to_value(new)?);
    drop_empty(&mut old);
    drop_empty(&mut new);
    let mut changed = Map::new();
    for field in FIELDS {
        if old.get(field) != new.get(field) {
            changed.insert(field.to_owned(), new.get(field).cloned().unwrap_or(Value::Null));
        }
    }
    for field in MERGED_LISTS {
        if let (before, Some(Value::Array(now))) = (old.get(field), new.get(field))
            && before.and_then(Value::as_array) != Some(now)
        {
            let replace = json!({"$patch": "replace"});
            changed.insert(field.to_owned(), std::iter::once(replace).chain(now.iter().cloned()).collect());
        }
    }
    let conditions = conditions(&old, &new);
    if !conditions.is_empty() {
        changed.insert("conditions".to_owned(), Value::Array(conditions));
    }
    if changed.is_empty() {
        return Ok(None);
    }
    Ok(Some(json!({"metadata": {"uid": uid}, "status": changed})))
}

/// The API server writes some absent things as empty objects; without this they would differ for ever.
fn drop_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, value| {
                let empty = match value {
                    Value::Null => true,
                    Value::Array(items) => items.is_empty(),
                    Value::Object(fields) => fields.is_empty() && EMPTY_IS_ABSENT.contains(&name.as_str()),
                    _ => false,
                };
                !empty
            });
            fields.values_mut().for_each(drop_empty);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_empty),
        _ => {}
    }
}

fn conditions(old: &Value, new: &Value) -> Vec<Value> {
    let list =
        |status: &Value| status.get("conditions").and_then(Value::as_array).cloned().unwrap_or_default();
    let type_of =
        |condition: &Value| condition.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (before, now) = (list(old), list(new));
    let changed = now.iter().filter(|condition| owned(&type_of(condition)) && !before.contains(condition));
    let set = changed.map(|condition| {
        let mut condition = condition.clone();
        let previous = before.iter().find(|known| type_of(known) == type_of(&condition));
        // A merge keeps what it is not told to drop.
        for field in ["reason", "message"] {
            if condition.get(field).is_none()
                && previous.is_some_and(|known| known.get(field).is_some())
                && let Some(fields) = condition.as_object_mut()
            {
                fields.insert(field.to_owned(), Value::Null);
            }
        }
        condition
    });
    let gone =
        before.iter().map(type_of).filter(|type_| owned(type_) && !now.iter().any(|c| type_of(c) == *type_));
    set.chain(gone.map(|type_| json!({"$patch": "delete", "type": type_}))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(value: Value) -> PodStatus {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nothing_changed_is_no_patch() {
        let one = status(json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}));
        assert_eq!(patch(&one, &one, "u").unwrap(), None);
    }

    #[test]
    fn what_the_api_server_writes_as_empty_is_absent() {
        let container = json!({"name": "c", "image": "", "imageID": "", "ready": true, "restartCount": 0});
        let ours = status(json!({"containerStatuses": [container]}));
        let mut theirs = container.clone();
        theirs.as_object_mut().unwrap().extend([
            ("lastState".to_owned(), json!({})),
            ("resources".to_owned(), json!({})),
            ("volumeMounts".to_owned(), json!([])),
        ]);
        let theirs = status(json!({"containerStatuses": [theirs], "ephemeralContainerStatuses": []}));
        assert_eq!(patch(&theirs, &ours, "u").unwrap(), None);
    }

    #[test]
    fn only_what_changed_is_named() {
        let old = status(json!({"phase": "Pending", "reason": "x", "hostIP": "h", "conditions": [
            {"type": "Ready", "status": "False", "reason": "ContainersNotReady"},
            {"type": "Initialized", "status": "True"},
            {"type": "example.com/gate", "status": "True"},
            {"type": "PodResizePending", "status": "True"}]}));
        let new = status(
            json!({"phase": "Running", "hostIP": "h", "podIPs": [{"ip": "127.64.128.1"}], "conditions": [
            {"type": "Ready", "status": "True"},
            {"type": "Initialized", "status": "True"}]}),
        );
        assert_eq!(
            patch(&old, &new, "u").unwrap().unwrap(),
            json!({"metadata": {"uid": "u"}, "status": {
                "phase": "Running",
                "reason": null,
                "podIPs": [{"$patch": "replace"}, {"ip": "127.64.128.1"}],
                "conditions": [
                    {"type": "Ready", "status": "True", "reason": null},
                    {"$patch": "delete", "type": "PodResizePending"},
                ],
            }})
        );
    }
}
