//! What a CRD's schema does to an object on its way in: unknown fields go, defaults come.
//!
//! Values are not validated: that is the real API server's job, and the tests'
//! that use it.

use base64::Engine as _;
use serde_json::{Map, Value, json};

/// The few things built-in kinds do that every reconciler meets.
pub(crate) fn admit_built_in(resource: &str, object: &mut Value) {
    if !matches!(resource, "secrets" | "configmaps") {
        return;
    }
    if resource == "secrets" {
        if let Some(texts) = object["stringData"].as_object().cloned() {
            for (name, text) in texts {
                let encoded =
                    base64::engine::general_purpose::STANDARD.encode(text.as_str().unwrap_or_default());
                object["data"][name] = json!(encoded);
            }
        }
        super::write::remove(object, "stringData");
        if object["type"].is_null() {
            object["type"] = json!("Opaque");
        }
    }
    for map in ["data", "binaryData"] {
        // Encoded without empty maps.
        if object.get(map).is_some_and(|map| map.is_null() || map.as_object().is_some_and(Map::is_empty)) {
            super::write::remove(object, map);
        }
    }
}

/// Prunes and defaults an object in place. `metadata`, `apiVersion` and `kind` are left alone.
pub(crate) fn admit(schema: &Value, object: &mut Value) {
    let Some(fields) = object.as_object_mut() else { return };
    for (name, value) in fields.iter_mut() {
        if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata")
            && let Some(property) = schema["properties"].get(name)
        {
            walk(property, value);
        }
    }
    fields.retain(|name, _| {
        matches!(name.as_str(), "apiVersion" | "kind" | "metadata")
            || schema["properties"].get(name).is_some()
    });
}

fn walk(schema: &Value, value: &mut Value) {
    match value {
        Value::Object(fields) => walk_object(schema, fields),
        Value::Array(items) => {
            if let Some(item) = schema.get("items") {
                items.iter_mut().for_each(|value| walk(item, value));
            }
        }
        _ => {}
    }
}

fn walk_object(schema: &Value, fields: &mut Map<String, Value>) {
    let properties = schema.get("properties").and_then(Value::as_object);
    let others = schema.get("additionalProperties");
    let free = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    fields.retain(|name, _| {
        free || others.is_some() || properties.is_some_and(|known| known.contains_key(name))
    });
    for (name, property) in properties.into_iter().flatten() {
        // A null where null is not allowed is treated as absent if there is a default.
        if let Some(default) = property.get("default")
            && fields.get(name).is_none_or(|value| value.is_null() && property["nullable"] != true)
        {
            fields.insert(name.clone(), default.clone());
        }
    }
    for (name, value) in fields.iter_mut() {
        if let Some(schema) = properties.and_then(|known| known.get(name)).or(others) {
            walk(schema, value);
        }
    }
}
