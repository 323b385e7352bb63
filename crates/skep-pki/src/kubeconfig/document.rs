//! Kubeconfig files as YAML documents.

use serde_json::{Value, json};

use crate::{Error, Result};

/// Reads a file into a tree. An empty file is an empty config, as kubectl sees it.
pub(super) fn read(yaml: &str) -> Result<Value> {
    if yaml.trim().is_empty() {
        return Ok(json!({"apiVersion": "v1", "kind": "Config"}));
    }
    // Never quote the text in the error: it may hold keys.
    // `0123` is octal to kubectl, too.
    let options = serde_saphyr::options! { with_snippet: false, legacy_octal_numbers: true };
    let tree: Value = serde_saphyr::from_str_with_options(yaml, options).map_err(|e| {
        let place = e.location().map(|l| format!(" at line {}", l.line())).unwrap_or_default();
        Error::Kubeconfig(format!("not valid YAML{place}; correct the file or move it away"))
    })?;
    match &tree {
        Value::Null => read(""),
        Value::Object(map) => match map.get("kind").and_then(Value::as_str) {
            None | Some("Config") => Ok(tree),
            Some(kind) => Err(Error::Kubeconfig(format!("the file holds a {kind}, not a kubeconfig"))),
        },
        _ => Err(Error::Kubeconfig("the file is not a YAML mapping; correct it or move it away".into())),
    }
}

/// Writes a tree as kubectl does: keys in order of the alphabet, lists not indented, long strings on one line.
pub(super) fn write(tree: &Value) -> Result<String> {
    // Without block scalars, as base64 of a certificate is one word; YAML 1.1 quoting, which kubectl reads.
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    serde_saphyr::to_string_with_options(tree, options)
        .map_err(|e| Error::Kubeconfig(format!("cannot write it as YAML: {e}")))
}

/// The entries of list `section`; none when it is missing.
pub(super) fn entries<'a>(tree: &'a Value, section: &str) -> &'a [Value] {
    tree.get(section).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// The name of an entry.
pub(super) fn name(entry: &Value) -> Option<&str> {
    entry.get("name").and_then(Value::as_str)
}
