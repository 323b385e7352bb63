//! Whether a node's labels are what a pod asks for: `nodeSelector` and required node affinity.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// Whether `labels` (of the node called `name`) satisfy the pod. Preferences are the scheduler's business.
#[must_use]
pub fn matches(spec: &PodSpec, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let required = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    selected
        && required.is_none_or(|selector| selector.node_selector_terms.iter().any(|t| term(t, name, labels)))
}

/// A term without any requirement matches nothing (upstream's `nodeaffinity` package).
fn term(term: &NodeSelectorTerm, name: &str, labels: &BTreeMap<String, String>) -> bool {
    let by_label = term.match_expressions.as_deref().unwrap_or_default();
    let by_field = term.match_fields.as_deref().unwrap_or_default();
    let field = |rule: &NodeSelectorRequirement| (rule.key == "metadata.name").then_some(name);
    !(by_label.is_empty() && by_field.is_empty())
        && by_label.iter().all(|rule| requirement(rule, labels.get(&rule.key).map(String::as_str)))
        && by_field.iter().all(|rule| requirement(rule, field(rule)))
}

fn requirement(rule: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = rule.values.as_deref().unwrap_or_default();
    let listed = value.is_some_and(|value| values.iter().any(|v| v == value));
    let compare = |order| {
        let number = |text: &str| text.parse::<i64>().ok();
        let (have, want) = (value.and_then(number), values.first().and_then(|v| number(v)));
        matches!((have, want), (Some(have), Some(want)) if have.cmp(&want) == order)
    };
    match rule.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => compare(std::cmp::Ordering::Greater),
        "Lt" => compare(std::cmp::Ordering::Less),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(spec: Value) -> bool {
        let labels =
            BTreeMap::from([("zone".to_owned(), "a".to_owned()), ("cores".to_owned(), "4".to_owned())]);
        let mut spec = spec;
        spec["containers"] = json!([]);
        matches(&serde_json::from_value(spec).unwrap(), "skep-a", &labels)
    }

    fn affinity(terms: Value) -> Value {
        json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution":
            {"nodeSelectorTerms": terms}}}})
    }

    #[test]
    fn selector_and_affinity_must_both_hold() {
        assert!(check(json!({})));
        assert!(check(json!({"nodeSelector": {"zone": "a"}})));
        assert!(!check(json!({"nodeSelector": {"zone": "b"}})));
        for (operator, values, expected) in [
            ("In", json!(["a", "b"]), true),
            ("In", json!(["b"]), false),
            ("NotIn", json!(["b"]), true),
            ("Exists", json!([]), true),
            ("DoesNotExist", json!([]), false),
        ] {
            let rule =
                json!([{"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}]);
            assert_eq!(check(affinity(rule)), expected, "{operator}");
        }
        for (operator, value, expected) in
            [("Gt", "3", true), ("Gt", "4", false), ("Lt", "5", true), ("Lt", "x", false)]
        {
            let rule =
                json!([{"matchExpressions": [{"key": "cores", "operator": operator, "values": [value]}]}]);
            assert_eq!(check(affinity(rule)), expected, "{operator} {value}");
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_matches_nothing() {
        let by_name = |name: &str| json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": [name]}]});
        assert!(check(affinity(json!([by_name("other"), by_name("skep-a")]))));
        assert!(!check(affinity(json!([by_name("other")]))));
        assert!(!check(affinity(json!([{}]))));
    }
}
