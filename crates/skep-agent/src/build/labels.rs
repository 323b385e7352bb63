//! Labels and taints that a kubelet gives its own node.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use skep_api::machine::Taint;

use crate::config::Join;

/// Upstream's label for the machine's zone.
const ZONE: &str = "topology.kubernetes.io/zone";
/// Upstream's label for the kind of machine.
const INSTANCE_TYPE: &str = "node.kubernetes.io/instance-type";
/// Labels of Kubernetes' own domains that a kubelet may set (`k8s.io/kubelet/pkg/apis/well_known_labels.go`); with any other
/// it refuses to start. What is left out here the operator sets.
const ALLOWED: [&str; 5] = [
    "kubernetes.io/hostname",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    ZONE,
    "topology.kubernetes.io/region",
];

/// Labels for `--node-labels`: those of the machine, the template, and ours, as far as a kubelet may set them.
pub(super) fn labels(join: &Join) -> BTreeMap<&str, &str> {
    let own = [(ZONE, join.zone.as_str()), (INSTANCE_TYPE, join.template.machine_class.as_str())];
    let given =
        join.template.labels.iter().chain(&join.labels).map(|(key, value)| (key.as_str(), value.as_str()));
    own.into_iter().chain(given).filter(|(key, _)| may_set(key)).collect()
}

fn may_set(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let within = |parent: &str| {
        domain == parent || domain.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
    };
    let reserved = within("kubernetes.io") || within("k8s.io");
    !reserved || ALLOWED.contains(&key) || within("kubelet.kubernetes.io") || within("node.kubernetes.io")
}

/// Taints as a `KubeletConfiguration` has them.
pub(super) fn taints(taints: &[Taint]) -> Value {
    let taint = |taint: &Taint| json!({"key": taint.key, "value": taint.value, "effect": taint.effect});
    taints.iter().map(taint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kubelet_sets_only_what_it_may() {
        for (key, may) in [
            ("disk", true),
            ("example.com/disk", true),
            ("skep.dev/pool", true),
            ("notkubernetes.io/x", true),
            ("topology.kubernetes.io/zone", true),
            ("node.kubernetes.io/rack", true),
            ("a.kubelet.kubernetes.io/x", true),
            ("kubernetes.io/role", false),
            ("node-role.kubernetes.io/control-plane", false),
            ("node-restriction.kubernetes.io/trust", false),
            ("x.k8s.io/y", false),
        ] {
            assert_eq!(may_set(key), may, "{key}");
        }
    }

    #[test]
    fn what_the_operator_says_wins() {
        let mut join = crate::build::testing::full_join();
        join.labels.insert("example.com/disk".into(), "hdd".into());
        let labels = labels(&join);
        assert_eq!(labels["example.com/disk"], "hdd");
        assert_eq!((labels[ZONE], labels[INSTANCE_TYPE]), ("a", "metal"));
        assert!(!labels.contains_key("kubernetes.io/role"));
    }
}
