//! Replacing what differs between two servers by nature.

use std::collections::HashMap;

use serde_json::Value;

/// Remembers uids and versions and replaces them by names.
#[derive(Default)]
pub struct Normaliser {
    uids: HashMap<String, String>,
    versions: HashMap<String, String>,
    /// Every uid ever seen, in order of appearance.
    known: Vec<String>,
}

impl Normaliser {
    /// Remembers the uid and version of every object in an answer.
    pub fn learn(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                if let Some(meta) = fields.get("metadata") {
                    let name = meta["name"].as_str().unwrap_or_default().to_owned();
                    if let Some(uid) = meta["uid"].as_str() {
                        self.uids.insert(name.clone(), uid.to_owned());
                        if !self.known.iter().any(|known| known == uid) {
                            self.known.push(uid.to_owned());
                        }
                    }
                    if let Some(version) = meta["resourceVersion"].as_str() {
                        let name = if name.is_empty() { "list".to_owned() } else { name };
                        self.versions.insert(name, version.to_owned());
                    }
                }
                fields.values().for_each(|value| self.learn(value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.learn(value)),
            _ => {}
        }
    }

    /// Fills `${uid:name}` and `${rv:name}` in.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (prefix, values) in [("uid", &self.uids), ("rv", &self.versions)] {
            for (name, value) in values {
                text = text.replace(&format!("${{{prefix}:{name}}}"), value);
            }
        }
        assert!(!text.contains("${"), "nothing known for {text}");
        text
    }

    pub fn normal(&self, mut value: Value) -> Value {
        self.replace(&mut value);
        value
    }

    fn replace(&self, value: &mut Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields.iter_mut() {
                    match name.as_str() {
                        "resourceVersion" | "creationTimestamp" | "deletionTimestamp" | "time"
                            if value.is_string() =>
                        {
                            *value = Value::from(format!("<{name}>"));
                        }
                        "managedFields" => sort_managers(value),
                        _ => {}
                    }
                    self.replace(value);
                }
                // Details for machines; the message says the same.
                fields.remove("causes");
                // Present as null on one side only, in bookmarks and status objects.
                fields.retain(|name, value| !(name == "creationTimestamp" && value.is_null()));
            }
            Value::Array(items) => items.iter_mut().for_each(|value| self.replace(value)),
            Value::String(text) => {
                // The one message with a version in it.
                if let Some((head, tail)) = text.clone().split_once("ResourceVersion in record (") {
                    let tail = tail.trim_start_matches(|c: char| c.is_ascii_digit());
                    *text = format!("{head}ResourceVersion in record (<version>{tail}");
                }
                for (index, uid) in self.known.iter().enumerate() {
                    if text.contains(uid.as_str()) {
                        *text = text.replace(uid.as_str(), &format!("<uid {index}>"));
                    }
                }
            }
            _ => {}
        }
    }
}

/// The order of managers has no meaning.
fn sort_managers(value: &mut Value) {
    if let Some(managers) = value.as_array_mut() {
        for manager in managers.iter_mut().filter_map(Value::as_object_mut) {
            // Absent after some writes that change nothing but ownership.
            manager.remove("time");
        }
        managers.sort_by_key(|m| format!("{}{}{}", m["manager"], m["operation"], m["subresource"]));
    }
}
