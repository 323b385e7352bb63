//! Sets of field paths: what a manager of server-side apply owns.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::kinds::{Kind, ListType};

/// One step of a path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    /// A field of an object.
    Field(String),
    /// The element of a list whose key fields are these (canonical JSON).
    Key(String),
    /// The element of a set (canonical JSON).
    Item(String),
}

/// A path from the object's root.
pub(crate) type Path = Vec<Step>;
/// A set of paths.
pub(crate) type Fields = BTreeSet<Path>;

/// Metadata that belongs to the server, or names the object: nobody owns it.
const SERVER_META: [&str; 9] = [
    "name",
    "namespace",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
];

/// All paths of an object that server-side apply would own, restricted to one side of the status subresource.
pub(crate) fn of(kind: &Kind, object: &Value, status: bool) -> Fields {
    walk(kind, object, status, false)
}

/// As [`of`], and the containers too: whoever writes plainly owns the maps and lists it introduces.
pub(crate) fn with_containers(kind: &Kind, object: &Value, status: bool) -> Fields {
    walk(kind, object, status, true)
}

fn walk(kind: &Kind, object: &Value, status: bool, containers: bool) -> Fields {
    let mut fields = Fields::new();
    for (name, value) in object.as_object().into_iter().flatten() {
        let in_status = kind.status && name == "status";
        if matches!(name.as_str(), "apiVersion" | "kind") || in_status != status {
            continue;
        }
        let path = vec![Step::Field(name.clone())];
        let mut walk = Walk { kind, fields: &mut fields, path, names: vec![name], containers };
        if name == "metadata" {
            for (field, value) in value.as_object().into_iter().flatten() {
                if !SERVER_META.contains(&field.as_str()) && field != "generateName" {
                    walk.field(field, value);
                }
            }
        } else {
            walk.value(value);
        }
    }
    fields
}

struct Walk<'a> {
    kind: &'a Kind,
    fields: &'a mut Fields,
    path: Path,
    names: Vec<&'a str>,
    containers: bool,
}

impl<'a> Walk<'a> {
    fn field(&mut self, name: &'a str, value: &'a Value) {
        self.path.push(Step::Field(name.to_owned()));
        self.names.push(name);
        self.value(value);
        self.names.pop();
        self.path.pop();
    }

    fn value(&mut self, value: &'a Value) {
        match value {
            Value::Object(fields) if !fields.is_empty() => {
                self.container();
                for (name, value) in fields {
                    self.field(name, value);
                }
            }
            Value::Array(items) if !items.is_empty() => match self.kind.list_type(&self.names) {
                ListType::Atomic => self.leaf(),
                ListType::Set => {
                    self.container();
                    for item in items {
                        self.path.push(Step::Item(item.to_string()));
                        self.leaf();
                        self.path.pop();
                    }
                }
                ListType::Map(keys) => {
                    self.container();
                    for item in items {
                        self.path.push(Step::Key(key_of(item, &keys)));
                        self.names.push("[]");
                        self.leaf();
                        self.value(item);
                        self.names.pop();
                        self.path.pop();
                    }
                }
            },
            _ => self.leaf(),
        }
    }

    fn container(&mut self) {
        if self.containers {
            self.leaf();
        }
    }

    fn leaf(&mut self) {
        self.fields.insert(self.path.clone());
    }
}

/// The key fields of a list element, in canonical form. An absent protocol is the default one.
pub(crate) fn key_of(item: &Value, keys: &[String]) -> String {
    let field = |key: &String| {
        let default = if key == "protocol" { json!("TCP") } else { Value::Null };
        (key.clone(), item.get(key).cloned().unwrap_or(default))
    };
    Value::Object(keys.iter().map(field).collect::<Map<_, _>>()).to_string()
}

fn matches(item: &Value, key: &str) -> bool {
    let wanted: Value = serde_json::from_str(key).unwrap_or_default();
    let keys: Vec<String> = wanted.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    key_of(item, &keys) == key
}

fn is_item(candidate: &Value, item: &str) -> bool {
    let text = candidate.to_string();
    text == item
}

/// The value at a path.
pub(crate) fn get<'a>(object: &'a Value, path: &[Step]) -> Option<&'a Value> {
    path.iter().try_fold(object, |value, step| match step {
        Step::Field(name) => value.get(name),
        Step::Key(key) => value.as_array()?.iter().find(|item| matches(item, key)),
        Step::Item(item) => value.as_array()?.iter().find(|candidate| is_item(candidate, item)),
    })
}

/// Removes the value at a path.
pub(crate) fn remove(object: &mut Value, path: &[Step]) {
    let Some((first, rest)) = path.split_first() else { return };
    match (first, object) {
        (Step::Field(name), Value::Object(fields)) => {
            if rest.is_empty() {
                fields.remove(name);
            } else if let Some(inner) = fields.get_mut(name) {
                remove(inner, rest);
            }
        }
        (Step::Key(key), Value::Array(items)) => {
            if rest.is_empty() {
                items.retain(|item| !matches(item, key));
            } else if let Some(item) = items.iter_mut().find(|item| matches(item, key)) {
                remove(item, rest);
            }
        }
        (Step::Item(value), Value::Array(items)) => items.retain(|item| !is_item(item, value)),
        _ => {}
    }
}

/// The `fieldsV1` form of a set.
pub(crate) fn render(fields: &Fields) -> Value {
    #[derive(Default)]
    struct Node {
        member: bool,
        children: BTreeMap<String, Node>,
    }
    fn write(node: &Node) -> Value {
        let mut map = Map::new();
        if node.member && !node.children.is_empty() {
            map.insert(".".into(), json!({}));
        }
        map.extend(node.children.iter().map(|(name, child)| (name.clone(), write(child))));
        Value::Object(map)
    }
    let mut root = Node::default();
    for path in fields {
        let mut node = &mut root;
        for step in path {
            let name = match step {
                Step::Field(name) => format!("f:{name}"),
                Step::Key(key) => format!("k:{key}"),
                Step::Item(item) => format!("v:{item}"),
            };
            node = node.children.entry(name).or_default();
        }
        node.member = true;
    }
    write(&root)
}
