//! Bringing a cluster into a person's kubeconfig and out of it again, as kubectl, kind and gcloud do: entries are
//! found by name and replaced whole, everything else stays as it is.

use serde_json::{Map, Value, json};

use super::document::{self, entries, name};
use super::{Kubeconfig, Names};
use crate::{Error, Result};

/// Adds or replaces cluster, user and context of `config` in the file `existing` (empty text for a new file) and
/// makes its context the current one. Returns the new text of the file.
///
/// Refuses a `config` that refers to files: their paths would be wrong in another directory.
pub fn merge(existing: &str, config: &Kubeconfig) -> Result<String> {
    if !config.is_self_contained() {
        return Err(Error::Kubeconfig(
            "it refers to certificate files and cannot be merged; use one with inline certificates".into(),
        ));
    }
    let mut tree = object(document::read(existing)?)?;
    for (section, entry) in [
        ("clusters", config.cluster_entry()),
        ("contexts", config.context_entry()),
        ("users", config.user_entry()),
    ] {
        put(&mut tree, section, entry)?;
    }
    tree.entry("apiVersion").or_insert_with(|| json!("v1"));
    tree.entry("kind").or_insert_with(|| json!("Config"));
    tree.insert("current-context".into(), json!(config.names.context));
    document::write(&Value::Object(tree))
}

/// Takes the entries of these names out of the file, and unsets the current context if it is theirs. A cluster or
/// user that another context still uses stays. Returns `None` when there was nothing to take out.
pub fn remove(existing: &str, names: &Names) -> Result<Option<String>> {
    let before = object(document::read(existing)?)?;
    let mut tree = before.clone();
    take(&mut tree, "contexts", &names.context)?;
    let contexts = Value::Object(tree.clone());
    let used = |kind: &str, wanted: &str| {
        entries(&contexts, "contexts").iter().any(|c| c["context"][kind].as_str() == Some(wanted))
    };
    if !used("cluster", &names.cluster) {
        take(&mut tree, "clusters", &names.cluster)?;
    }
    if !used("user", &names.user) {
        take(&mut tree, "users", &names.user)?;
    }
    if tree.get("current-context").and_then(Value::as_str) == Some(names.context.as_str()) {
        tree.insert("current-context".into(), json!(""));
    }
    if tree == before {
        return Ok(None);
    }
    document::write(&Value::Object(tree)).map(Some)
}

/// Names of the contexts of a file, in its order, and the current one.
pub fn contexts(existing: &str) -> Result<(Vec<String>, Option<String>)> {
    let tree = document::read(existing)?;
    let names = entries(&tree, "contexts").iter().filter_map(name).map(str::to_owned).collect();
    let current = tree.get("current-context").and_then(Value::as_str).filter(|c| !c.is_empty());
    Ok((names, current.map(str::to_owned)))
}

fn object(tree: Value) -> Result<Map<String, Value>> {
    match tree {
        Value::Object(map) => Ok(map),
        _ => Err(Error::Kubeconfig("the file is not a YAML mapping; correct it or move it away".into())),
    }
}

/// The list of a section; a missing or null one is made, anything else is left alone and refused.
fn list<'a>(tree: &'a mut Map<String, Value>, section: &str) -> Result<&'a mut Vec<Value>> {
    let value = tree.entry(section).or_insert(Value::Null);
    if value.is_null() {
        *value = json!([]);
    }
    value.as_array_mut().ok_or_else(|| {
        Error::Kubeconfig(format!("{section} is not a list; correct the file or move it away"))
    })
}

/// Replaces the entry of the same name in its place, or appends it. Later duplicates of the name go: kubectl would
/// take the first of them and ignore the rest.
fn put(tree: &mut Map<String, Value>, section: &str, entry: Value) -> Result<()> {
    let list = list(tree, section)?;
    let wanted = name(&entry).map(str::to_owned);
    let first = list.iter().position(|e| name(e) == wanted.as_deref());
    match first {
        None => list.push(entry),
        Some(at) => {
            list[at] = entry;
            let mut index = 0;
            list.retain(|e| {
                let keep = index <= at || name(e) != wanted.as_deref();
                index += 1;
                keep
            });
        }
    }
    Ok(())
}

fn take(tree: &mut Map<String, Value>, section: &str, wanted: &str) -> Result<()> {
    if tree.get(section).is_some_and(|s| !s.is_null()) {
        list(tree, section)?.retain(|e| name(e) != Some(wanted));
    }
    Ok(())
}
