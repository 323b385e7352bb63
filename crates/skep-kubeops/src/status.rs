//! Comparing a new status with the old one without being fooled by clocks.
//!
//! A status that is written again because only a time moved triggers the
//! controller that wrote it: for ever.

use serde_json::{Map, Value};

/// Fields of a condition that carry a time and mean nothing by themselves.
const TIMES: [&str; 4] = ["lastTransitionTime", "lastUpdateTime", "lastProbeTime", "lastHeartbeatTime"];

/// Carries times over from `old` to `new` wherever nothing else about their condition changed.
///
/// A condition (an element of an array named `conditions`, with a `type`) keeps its
/// `lastTransitionTime` unless its `status` flips; its other times stay unless anything
/// else in it changed. After this, plain equality says whether a write is needed.
pub fn keep_times(old: &Value, new: &mut Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (name, new) in new.iter_mut() {
                let Some(old) = old.get(name) else { continue };
                match (name.as_str(), old, &mut *new) {
                    ("conditions", Value::Array(old), Value::Array(new)) => keep_conditions(old, new),
                    _ => keep_times(old, new),
                }
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for (old, new) in old.iter().zip(new) {
                keep_times(old, new);
            }
        }
        _ => {}
    }
}

fn keep_conditions(old: &[Value], new: &mut [Value]) {
    for condition in new.iter_mut().filter_map(Value::as_object_mut) {
        let same_type = |candidate: &&Value| {
            condition.get("type").is_some() && candidate.get("type") == condition.get("type")
        };
        let Some(before) = old.iter().find(same_type).and_then(Value::as_object) else { continue };
        let untouched = without_times(before) == without_times(condition);
        let flipped = before.get("status") != condition.get("status");
        for time in TIMES {
            let keep = if time == "lastTransitionTime" { !flipped } else { untouched };
            if keep && let Some(value) = before.get(time) {
                condition.insert(time.to_owned(), value.clone());
            }
        }
    }
}

fn without_times(condition: &Map<String, Value>) -> Vec<(&String, &Value)> {
    condition.iter().filter(|(name, _)| !TIMES.contains(&name.as_str())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn condition(kind: &str, status: &str, message: &str, at: &str) -> Value {
        json!({"type": kind, "status": status, "reason": "R", "message": message, "lastTransitionTime": at})
    }

    #[test]
    fn only_a_flip_moves_the_transition_time() {
        let old = json!({"conditions": [condition("Ready", "True", "a", "T1"), condition("Up", "True", "a", "T1")]});
        let mut new = json!({"conditions": [condition("Up", "False", "a", "T2"), condition("Ready", "True", "b", "T2")]});
        keep_times(&old, &mut new);
        assert_eq!(new["conditions"][0]["lastTransitionTime"], "T2", "flipped");
        assert_eq!(new["conditions"][1]["lastTransitionTime"], "T1", "new message, same status");
        assert_ne!(old, new);
    }

    #[test]
    fn heartbeats_alone_are_no_change() {
        let old = json!({"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "T1"}]});
        let mut new = json!({"conditions": [{"type": "Ready", "status": "True", "lastHeartbeatTime": "T9"}]});
        keep_times(&old, &mut new);
        assert_eq!(old, new);
    }

    #[test]
    fn conditions_of_members_are_found_too() {
        let old = json!({"members": [{"name": "a", "conditions": [condition("Up", "True", "m", "T1")]}]});
        let mut new = json!({"members": [{"name": "a", "conditions": [condition("Up", "True", "m", "T2")]}]});
        keep_times(&old, &mut new);
        assert_eq!(old, new);
    }

    #[test]
    fn a_time_field_outside_conditions_is_data() {
        let old = json!({"lastProbeTime": "T1"});
        let mut new = json!({"lastProbeTime": "T2"});
        keep_times(&old, &mut new);
        assert_ne!(old, new);
    }

    fn conditions() -> impl Strategy<Value = Value> {
        let one = (0..3_u8, any::<bool>(), 0..2_u8, 0..9_u8).prop_map(|(kind, status, message, at)| {
            condition(&format!("C{kind}"), &status.to_string(), &format!("m{message}"), &format!("T{at}"))
        });
        proptest::collection::vec(one, 0..4).prop_map(|mut list| {
            list.dedup_by_key(|value| value["type"].clone());
            json!({ "conditions": list })
        })
    }

    proptest! {
        #[test]
        fn keeping_is_idempotent_and_touches_times_only(old in conditions(), new in conditions()) {
            let mut once = new.clone();
            keep_times(&old, &mut once);
            let mut twice = once.clone();
            keep_times(&old, &mut twice);
            prop_assert_eq!(&once, &twice);
            for (before, after) in new["conditions"].as_array().unwrap().iter().zip(once["conditions"].as_array().unwrap()) {
                prop_assert_eq!(
                    without_times(before.as_object().unwrap()),
                    without_times(after.as_object().unwrap())
                );
            }
        }

        #[test]
        fn the_same_content_at_another_time_is_equal(old in conditions()) {
            let mut new = old.clone();
            for condition in new["conditions"].as_array_mut().unwrap() {
                condition["lastTransitionTime"] = json!("later");
            }
            // Types are unique in a real list; duplicates would make "the" condition ambiguous.
            let types: std::collections::HashSet<_> =
                old["conditions"].as_array().unwrap().iter().map(|c| c["type"].to_string()).collect();
            prop_assume!(types.len() == old["conditions"].as_array().unwrap().len());
            keep_times(&old, &mut new);
            prop_assert_eq!(old, new);
        }
    }
}
