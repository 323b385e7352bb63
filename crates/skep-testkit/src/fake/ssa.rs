//! Who owns which field, and server-side apply on top of it.

use std::collections::{HashSet, VecDeque};

use serde_json::{Value, json};

use super::{
    failure::Failure,
    fields::{self, Fields, Step},
    kinds::{Kind, ListType},
};

/// What one manager owns by one way of writing.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Manager {
    pub(crate) name: String,
    pub(crate) apply: bool,
    pub(crate) status: bool,
    pub(crate) fields: Fields,
    pub(crate) time: String,
}

/// Who writes, and how.
#[derive(Clone, Debug)]
pub(crate) struct Writer {
    pub(crate) manager: String,
    pub(crate) force: bool,
    pub(crate) status: bool,
    pub(crate) now: String,
}

/// The `managedFields` form of the managers.
pub(crate) fn render(kind: &Kind, managers: &[Manager]) -> Value {
    let entry = |manager: &Manager| {
        let mut entry = json!({
            "manager": manager.name,
            "operation": if manager.apply { "Apply" } else { "Update" },
            "apiVersion": kind.api_version(),
            "time": manager.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields::render(&manager.fields),
        });
        if manager.status {
            entry["subresource"] = json!("status");
        }
        entry
    };
    Value::Array(managers.iter().map(entry).collect())
}

/// Ownership after a plain write (create, update, patch) that turned `old` into `new`.
pub(crate) fn updated(
    kind: &Kind,
    managers: &[Manager],
    old: &Value,
    new: &Value,
    by: &Writer,
) -> Vec<Manager> {
    let written = fields::with_containers(kind, new, by.status);
    let leaves = fields::of(kind, new, by.status);
    let changed: Fields = written
        .iter()
        .filter(|path| {
            let (before, after) = (fields::get(old, path), fields::get(new, path));
            // Of a container and of the element of a list only the presence counts: their fields
            // have paths of their own.
            let container = !leaves.contains(*path) || matches!(path.last(), Some(Step::Key(_)));
            if container { before.is_none() } else { before != after }
        })
        .cloned()
        .collect();
    let mut result: Vec<Manager> = managers.to_vec();
    for manager in &mut result {
        if manager.status == by.status {
            manager.fields.retain(|path| written.contains(path) && !changed.contains(path));
        }
    }
    if !changed.is_empty() {
        let own = result.iter_mut().find(|m| m.name == by.manager && !m.apply && m.status == by.status);
        match own {
            Some(own) => {
                own.fields.extend(changed);
                own.time.clone_from(&by.now);
            }
            None => result.push(Manager {
                name: by.manager.clone(),
                apply: false,
                status: by.status,
                fields: changed,
                time: by.now.clone(),
            }),
        }
    }
    result.retain(|manager| !manager.fields.is_empty());
    result
}

/// Applies `config` to `live`: the object and its managers afterwards.
pub(crate) fn apply(
    kind: &Kind,
    managers: &[Manager],
    live: &Value,
    config: &Value,
    by: &Writer,
) -> Result<(Value, Vec<Manager>), Failure> {
    let mut config = config.clone();
    drop_nulls(&mut config);
    let wanted = fields::of(kind, &config, by.status);
    let mut others: Vec<Manager> = Vec::new();
    let mut before = Fields::new();
    for manager in managers {
        if manager.name == by.manager && manager.apply && manager.status == by.status {
            before.clone_from(&manager.fields);
        } else {
            others.push(manager.clone());
        }
    }
    take_over(&mut others, live, &config, &wanted, by)?;

    let mut object = live.clone();
    for (name, value) in config.as_object().into_iter().flatten() {
        let in_status = kind.status && name == "status";
        if matches!(name.as_str(), "apiVersion" | "kind") || in_status != by.status {
            continue;
        }
        merge(kind, &mut vec![name], &mut object[name.as_str()], value);
    }
    // What this manager no longer says goes, and so do the containers it said it in, with what
    // nobody owns in them (defaults): unless somebody, itself included, owns something below.
    // Shallow first: an element of a list must be found by its key fields before they go.
    let dropped = before.iter().flat_map(|path| (2..=path.len()).map(|length| path[..length].to_vec()));
    let top = before.iter().filter(|path| path.len() == 1).cloned();
    for path in dropped.chain(top).collect::<Fields>() {
        let owned =
            |fields: &Fields| fields.range(path.clone()..).next().is_some_and(|next| next.starts_with(&path));
        if !owned(&wanted) && !others.iter().any(|manager| owned(&manager.fields)) {
            fields::remove(&mut object, &path);
        }
    }
    let mut result = others;
    if !wanted.is_empty() {
        result.push(Manager {
            name: by.manager.clone(),
            apply: true,
            status: by.status,
            fields: wanted,
            time: by.now.clone(),
        });
    }
    result.retain(|manager| !manager.fields.is_empty());
    Ok((object, result))
}

/// Fields that others own with another value: a conflict, or theirs no longer.
fn take_over(
    others: &mut [Manager],
    live: &Value,
    config: &Value,
    wanted: &Fields,
    by: &Writer,
) -> Result<(), Failure> {
    for manager in others.iter_mut().filter(|manager| manager.status == by.status) {
        let disputed: Vec<_> = manager
            .fields
            .intersection(wanted)
            .filter(|path| !matches!(path.last(), Some(Step::Key(_))))
            .filter(|path| {
                let (ours, theirs) = (fields::get(config, path), fields::get(live, path));
                // Two maps do not contradict each other.
                ours != theirs
                    && !(ours.is_some_and(Value::is_object) && theirs.is_some_and(Value::is_object))
            })
            .cloned()
            .collect();
        if disputed.is_empty() {
            continue;
        }
        if !by.force {
            return Err(conflict(&manager.name, &disputed));
        }
        manager.fields.retain(|path| !disputed.contains(path));
    }
    Ok(())
}

fn conflict(manager: &str, disputed: &[fields::Path]) -> Failure {
    let names: Vec<_> = disputed.iter().map(|path| dotted(path)).collect();
    let message = match names.as_slice() {
        [one] => format!("Apply failed with 1 conflict: conflict with \"{manager}\": {one}"),
        many => {
            let lines: String = many.iter().map(|name| format!("\n- {name}")).collect();
            format!("Apply failed with {} conflicts: conflicts with \"{manager}\":{lines}", many.len())
        }
    };
    Failure::new(409, "Conflict", message).with_details()
}

fn merge<'a>(kind: &Kind, path: &mut Vec<&'a str>, live: &mut Value, config: &'a Value) {
    match config {
        Value::Object(fields) if live.is_object() || (live.is_null() && !fields.is_empty()) => {
            for (name, value) in fields {
                path.push(name);
                merge(kind, path, &mut live[name.as_str()], value);
                path.pop();
            }
        }
        Value::Array(items) => match kind.list_type(path) {
            ListType::Atomic => *live = config.clone(),
            list => merge_list(kind, path, live, items, &list),
        },
        _ => *live = config.clone(),
    }
}

/// Merges an associative list in the order upstream's structured-merge-diff gives: what only one
/// side has stays where it is relative to its neighbours, and the applied order wins.
fn merge_list<'a>(
    kind: &Kind,
    path: &mut Vec<&'a str>,
    live: &mut Value,
    items: &'a [Value],
    list: &ListType,
) {
    let key = |item: &Value| match list {
        ListType::Map(keys) => fields::key_of(item, keys),
        _ => item.to_string(),
    };
    let mut left: VecDeque<Value> = live.as_array().cloned().unwrap_or_default().into();
    let known: HashSet<String> = left.iter().map(&key).collect();
    let applied: HashSet<String> = items.iter().map(&key).collect();
    let mut right = items.iter().peekable();
    let mut merged = Vec::new();
    loop {
        // Elements that nobody applies stay in front of the next one that somebody does.
        let next = right.peek().map(|item| key(item));
        if let Some(element) = left.front()
            && (next.is_none() || !applied.contains(&key(element)))
        {
            let element = left.pop_front();
            merged.extend(element.filter(|element| !applied.contains(&key(element))));
            continue;
        }
        let (Some(item), Some(next)) = (right.next(), next) else { break };
        let mut element = json!({});
        if known.contains(&next)
            && let Some(index) = left.iter().position(|element| key(element) == next)
        {
            element = left.remove(index).unwrap_or_default();
        }
        if matches!(list, ListType::Map(_)) {
            path.push("[]");
            merge(kind, path, &mut element, item);
            path.pop();
        } else {
            element = item.clone();
        }
        merged.push(element);
    }
    *live = Value::Array(merged);
}

fn drop_nulls(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.retain(|_, value| !value.is_null());
            fields.values_mut().for_each(drop_nulls);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

fn dotted(path: &[Step]) -> String {
    let step = |step: &Step| match step {
        Step::Field(name) => format!(".{name}"),
        Step::Key(key) => {
            let key: Value = serde_json::from_str(key).unwrap_or_default();
            let pairs = key.as_object().into_iter().flatten().map(|(name, value)| format!("{name}={value}"));
            format!("[{}]", pairs.collect::<Vec<_>>().join(","))
        }
        Step::Item(item) => format!("[={item}]"),
    };
    path.iter().map(step).collect()
}
