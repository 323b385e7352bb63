//! The one table that says what each field of a `ControlPlane` touches.

use std::collections::BTreeMap;

use serde_json::Value;
use skep_api::ControlPlaneSpec;
use skep_api::resources::Reconciliation;

use crate::flags::Program;

/// How a field reaches a running program, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Touch {
    /// Through files that are read again.
    Reissue,
    /// Through the number of copies.
    Copies,
    /// Through the pod template: the program starts anew.
    Template,
}

use Program::{KubeApiserver as Api, KubeControllerManager as Kcm, KubeScheduler as Scheduler};

/// Field or group of fields (`group.`), and what it touches. The first row that fits counts; a field that touches
/// nothing has a row as well, so that a new field cannot be forgotten (a test goes through all fields of the spec).
const EFFECTS: &[(&str, &[(Program, Touch)])] = &[
    ("version", &[(Api, Touch::Template), (Kcm, Touch::Template), (Scheduler, Touch::Template)]),
    ("image", &[(Api, Touch::Template), (Kcm, Touch::Template), (Scheduler, Touch::Template)]),
    ("sizeClass", &[]),
    ("reconciliation", &[]),
    ("tenant", &[]),
    ("cluster.", &[]),
    ("datastore.", &[]),
    ("network.", &[(Api, Touch::Template), (Kcm, Touch::Template)]),
    // The name is in the server's certificate, which is read again, and in the controllers' kubeconfigs, which are not.
    ("endpoint.host", &[(Api, Touch::Reissue), (Kcm, Touch::Template), (Scheduler, Touch::Template)]),
    // Controllers use the cell's own way to the gateway; only kubeconfigs for people carry the public one.
    ("endpoint.server", &[]),
    ("apiServer.replicas", &[(Api, Touch::Copies)]),
    ("apiServer.", &[(Api, Touch::Template)]),
    ("controllerManager.replicas", &[(Kcm, Touch::Copies)]),
    ("controllerManager.", &[(Kcm, Touch::Template)]),
    ("scheduler.replicas", &[(Scheduler, Touch::Copies)]),
    ("scheduler.", &[(Scheduler, Touch::Template)]),
];

/// The row of a field; `None` for a field the table does not know.
pub(super) fn row(field: &str) -> Option<&'static [(Program, Touch)]> {
    EFFECTS
        .iter()
        .find(|(name, _)| if name.ends_with('.') { field.starts_with(name) } else { field == *name })
        .map(|(_, touches)| *touches)
}

/// Whether there is a row for the field, or rows for all that is below it.
#[cfg(test)]
pub(super) fn knows(field: &str) -> bool {
    EFFECTS
        .iter()
        .any(|(name, _)| *name == field || name.strip_prefix(field).is_some_and(|rest| rest.starts_with('.')))
}

/// How a change of `field` touches `program`. A field the table does not know is taken for the worst.
pub(super) fn touches(field: &str, program: Program) -> Option<Touch> {
    match row(field) {
        Some(touches) => touches.iter().find(|(who, _)| *who == program).map(|(_, touch)| *touch),
        None => Some(Touch::Template),
    }
}

/// Whether the operator leaves a control plane with this spec alone.
pub(super) fn is_paused(spec: &ControlPlaneSpec) -> bool {
    spec.reconciliation == Reconciliation::Paused
}

/// Every leaf of a JSON value by its path. Elements of lists that have a `name` go by it, and their `value` is the
/// leaf, so that a moved flag is no change.
pub(super) fn flatten(value: &Value) -> BTreeMap<String, String> {
    let mut leaves = BTreeMap::new();
    collect(value, String::new(), &mut leaves);
    leaves
}

fn collect(value: &Value, path: String, leaves: &mut BTreeMap<String, String>) {
    match value {
        Value::Null => {}
        Value::Object(fields) => {
            for (name, inner) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                collect(inner, path, leaves);
            }
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                match (item.get("name").and_then(Value::as_str), item.get("value")) {
                    (Some(name), Some(inner)) => collect(inner, format!("{path}[{name}]"), leaves),
                    _ => collect(item, format!("{path}[{at}]"), leaves),
                }
            }
        }
        Value::String(text) => {
            leaves.insert(path, text.clone());
        }
        other => {
            leaves.insert(path, other.to_string());
        }
    }
}
