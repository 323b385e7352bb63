//! Merge, JSON and strategic merge patches.

use serde_json::Value;

use super::{
    failure::Failure,
    fields::key_of,
    kinds::{Kind, ListType},
};

/// The patched object. A `resourceVersion` in the result is one that the patch asked for.
pub(crate) fn patch(kind: &Kind, content_type: &str, live: &Value, body: &Value) -> Result<Value, Failure> {
    let mut object = live.clone();
    super::write::remove(&mut object["metadata"], "resourceVersion");
    super::write::remove(&mut object["metadata"], "managedFields");
    if content_type.starts_with("application/merge-patch") {
        json_patch::merge(&mut object, body);
        return Ok(object);
    }
    if content_type.starts_with("application/strategic-merge-patch") {
        if kind.schema.is_some() {
            return Err(Failure::new(
                415,
                "UnsupportedMediaType",
                "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            ));
        }
        strategic(kind, &mut Vec::new(), &mut object, body);
        return Ok(object);
    }
    if content_type.starts_with("application/json-patch") {
        let operations: json_patch::Patch =
            serde_json::from_value(body.clone()).map_err(|error| Failure::bad_request(error.to_string()))?;
        // Tests see the object as it is, with its version.
        let mut object = live.clone();
        json_patch::patch(&mut object, &operations).map_err(|error| {
            let message = format!("the server rejected our request due to an error in our request: {error}");
            Failure::new(422, "Invalid", message)
        })?;
        return Ok(object);
    }
    Err(Failure::new(415, "UnsupportedMediaType", format!("unknown patch type {content_type}")))
}

/// Strategic merge, as far as keys of lists decide; of its directives those in lists, `$patch: replace` and `delete`.
fn strategic<'a>(kind: &Kind, path: &mut Vec<&'a str>, live: &mut Value, patch: &'a Value) {
    match patch {
        Value::Object(fields) => {
            if !live.is_object() {
                *live = Value::Object(serde_json::Map::new());
            }
            for (name, value) in fields {
                if value.is_null() {
                    super::write::remove(live, name);
                    continue;
                }
                path.push(name);
                strategic(kind, path, &mut live[name.as_str()], value);
                path.pop();
            }
        }
        Value::Array(items) if items.iter().any(|item| item["$patch"] == "replace") => {
            *live = items.iter().filter(|item| item["$patch"] != "replace").cloned().collect();
        }
        Value::Array(items) => match (kind.list_type(path), live.as_array_mut()) {
            (ListType::Map(keys), Some(elements)) => {
                for item in items {
                    let key = key_of(item, &keys);
                    if item["$patch"] == "delete" {
                        elements.retain(|element| key_of(element, &keys) != key);
                        continue;
                    }
                    path.push("[]");
                    match elements.iter_mut().find(|element| key_of(element, &keys) == key) {
                        Some(element) => strategic(kind, path, element, item),
                        None => elements.push(item.clone()),
                    }
                    path.pop();
                }
            }
            (ListType::Set, Some(elements)) => {
                // What the patch names comes first.
                elements.retain(|element| !items.contains(element));
                elements.splice(0..0, items.iter().cloned());
            }
            _ => *live = patch.clone(),
        },
        _ => *live = patch.clone(),
    }
}
