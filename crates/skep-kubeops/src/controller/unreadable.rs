//! What is written on an object that this version cannot read, beside the event: people and their tools look at conditions.
//!
//! It is the condition `Ready`, which every kind that is reconciled has: whoever reads the object next writes it anew
//! with the rest of its status, so nothing has to be taken away when the object has been corrected.

use jiff::Timestamp;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{Error, Key, Object, Result, error};

/// Reason of the event and of the condition.
pub(super) const REASON: &str = "Unreadable";
/// The field manager. Not the reconciler's: that would drop all that it has said about the object.
const MANAGER: &str = "skep-unreadable";

/// Sets `Ready` to `Unknown` on this version of the object. Writes nothing when that has been said before, when there is
/// another version by now (it is seen as well, and may be readable), nor on kinds without a status.
///
/// # Errors
/// The API server refused or could not be reached.
pub(super) async fn tell<K: Object>(
    client: &Client,
    key: &Key,
    version: Option<String>,
    message: String,
) -> Result<()> {
    let kind = ApiResource::erase::<K>(&());
    let api: Api<DynamicObject> = match &key.namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &kind),
        None => Api::all_with(client.clone(), &kind),
    };
    let found = api.get_opt(&key.name).await.map_err(|error| Error::api::<K>("read", key, error))?;
    let Some(found) = found.filter(|found| found.metadata.resource_version == version) else { return Ok(()) };
    let Some(condition) = condition(&found.data, message, Timestamp::now()) else { return Ok(()) };
    let patch = json!({
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {"name": key.name, "resourceVersion": version},
        "status": {"conditions": [condition]},
    });
    let parameters = PatchParams::apply(MANAGER).force();
    match api.patch_status(&key.name, &parameters, &Patch::Apply(patch)).await {
        Err(error) if !error::is_not_found(&error) && !error::is_conflict(&error) => {
            Err(Error::api::<K>("update the status of", key, error))
        }
        _ => Ok(()),
    }
}

/// The condition to write on an object with these fields, unless it is there.
fn condition(fields: &Value, message: String, now: Timestamp) -> Option<Value> {
    let conditions = fields["status"]["conditions"].as_array();
    let old = conditions.into_iter().flatten().find(|condition| condition["type"] == "Ready");
    let unknown = old.filter(|old| old["status"] == "Unknown");
    if unknown.is_some_and(|old| old["reason"] == REASON && old["message"] == *message) {
        return None;
    }
    let since = unknown
        .map_or_else(|| json!(now.strftime("%FT%TZ").to_string()), |old| old["lastTransitionTime"].clone());
    Some(json!({
        "type": "Ready", "status": "Unknown", "reason": REASON, "message": message, "lastTransitionTime": since,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_and_times_move_only_with_the_status() {
        let now = Timestamp::from_second(1_000_000_000).unwrap();
        let on = |status: Value| condition(&json!({"status": status}), "m".to_owned(), now);
        let first = on(Value::Null).unwrap();
        assert_eq!(first["lastTransitionTime"], "2001-09-09T01:46:40Z");
        assert_eq!(on(json!({"conditions": [{"type": "Accepted"}, first.clone()]})), None);
        let mut other = first.clone();
        other["message"] = json!("other");
        other["lastTransitionTime"] = json!("2000-01-01T00:00:00Z");
        let again = on(json!({"conditions": [other]})).unwrap();
        assert_eq!(
            (&again["message"], &again["lastTransitionTime"]),
            (&json!("m"), &json!("2000-01-01T00:00:00Z"))
        );
        let mut ready = first.clone();
        ready["status"] = json!("True");
        assert_eq!(on(json!({"conditions": [ready]})), Some(first));
    }
}
