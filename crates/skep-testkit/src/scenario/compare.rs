//! Two runs are equal when their objects are, but for what time and chance decide.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::Value;

use super::World;

/// Metadata that differs between two good runs.
const CHANCE: [&str; 7] = [
    "uid",
    "resourceVersion",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "selfLink",
    // How often an object was written on the way says nothing about the goal.
    "generation",
];

/// Fields of conditions and statuses that hold a time, or follow `generation`.
const TIMES: [&str; 6] = [
    "lastTransitionTime",
    "lastUpdateTime",
    "lastProbeTime",
    "lastHeartbeatTime",
    "renewTime",
    "observedGeneration",
];

/// All objects in normal form, by kind, namespace and name.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    objects: BTreeMap<String, Value>,
}

impl Snapshot {
    pub(super) async fn take<W: World>(world: &W) -> Result<Self> {
        let mut objects = BTreeMap::new();
        let all = world.backend().objects().await?;
        let uids: Vec<(String, String)> = all
            .iter()
            .filter_map(|object| {
                Some((object["metadata"]["uid"].as_str()?.to_owned(), format!("<uid of {}>", label(object))))
            })
            .collect();
        for mut object in all {
            if object["kind"] == "Event" {
                continue;
            }
            check_generation(&object)?;
            normalise(&mut object, &uids);
            world.normalise(&mut object);
            objects.insert(label(&object), object);
        }
        Ok(Self { objects })
    }

    /// Compares with another run.
    pub(super) fn expect(&self, other: &Self) -> Result<()> {
        let mut differences = Vec::new();
        for label in self.objects.keys().filter(|label| !other.objects.contains_key(*label)) {
            differences.push(format!("missing: {label}"));
        }
        for (label, object) in &other.objects {
            match self.objects.get(label) {
                None => differences.push(format!("too much: {label}")),
                Some(expected) => differ(label, expected, object, &mut differences),
            }
        }
        anyhow::ensure!(
            differences.is_empty(),
            "other objects than without the fault:\n{}",
            differences.join("\n")
        );
        Ok(())
    }
}

fn label(object: &Value) -> String {
    let meta = &object["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    format!("{} {}/{}", text(&object["kind"]), text(&meta["namespace"]), text(&meta["name"]))
}

/// Generations are not compared, but a controller that says it has seen one must have seen the present one.
fn check_generation(object: &Value) -> Result<()> {
    let (seen, now) = (&object["status"]["observedGeneration"], &object["metadata"]["generation"]);
    anyhow::ensure!(
        seen.is_null() || now.is_null() || seen == now || !object["metadata"]["deletionTimestamp"].is_null(),
        "{}: status is of generation {seen}, the object of {now}",
        label(object)
    );
    Ok(())
}

fn normalise(object: &mut Value, uids: &[(String, String)]) {
    if let Some(meta) = object["metadata"].as_object_mut() {
        for field in CHANCE {
            meta.remove(field);
        }
    }
    if object["kind"] == "Secret"
        && let Some(data) = object["data"].as_object_mut()
    {
        data.values_mut().for_each(|value| *value = Value::from("<secret>"));
    }
    walk(object, uids);
}

fn walk(value: &mut Value, uids: &[(String, String)]) {
    match value {
        Value::Object(fields) => {
            fields.retain(|name, _| !TIMES.contains(&name.as_str()));
            fields.values_mut().for_each(|value| walk(value, uids));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| walk(value, uids)),
        Value::String(text) => {
            if let Some((_, name)) = uids.iter().find(|(uid, _)| uid == text) {
                text.clone_from(name);
            }
        }
        _ => {}
    }
}

fn differ(at: &str, expected: &Value, actual: &Value, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(left), Value::Object(right)) => {
            for name in left.keys().chain(right.keys().filter(|name| !left.contains_key(*name))) {
                let side = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or_default();
                differ(&format!("{at} .{name}"), &side(left), &side(right), differences);
            }
        }
        _ if expected != actual => differences.push(format!("{at}: expected {expected}, got {actual}")),
        _ => {}
    }
}
