//! Labels, taints and settings that a node can have.
//!
//! The API server takes almost any text in our objects, and a kubelet that is given a label it may not have ends at its
//! start: better said before there is a machine.

use skep_api::NodeTemplate;

use super::Refusal;

/// Labels of `kubernetes.io` and `k8s.io` that a kubelet may set on its own node (`k8s.io/kubelet/pkg/apis`,
/// `kubeletLabels`).
const KUBELET_LABELS: [&str; 11] = [
    "kubernetes.io/hostname",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "kubernetes.io/os",
    "kubernetes.io/arch",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
];
/// Name spaces below which a kubelet may set any label (`kubeletLabelNamespaces`).
const KUBELET_SPACES: [&str; 2] = ["kubelet.kubernetes.io", "node.kubernetes.io"];
/// Name spaces that upstream keeps for itself (`isKubernetesLabel`).
const UPSTREAM_SPACES: [&str; 2] = ["kubernetes.io", "k8s.io"];
/// Labels that every machine gets from what it is.
const GIVEN: [&str; 3] =
    ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "node.kubernetes.io/instance-type"];
/// Ours.
const OURS: &str = "skep.dev";

/// Everything that is wrong with a template.
pub(super) fn check(template: &NodeTemplate) -> Vec<Refusal> {
    let mut refused = Vec::new();
    let mut refuse = |field: String, reason: String| refused.push(Refusal::InvalidTemplate { field, reason });
    for (key, value) in &template.labels {
        let field = || format!("labels[{key}]");
        if let Some(reason) = bad_key(key).or_else(|| bad_value(value)) {
            refuse(field(), reason);
        } else if GIVEN.contains(&key.as_str()) || inside(space(key), OURS) {
            refuse(field(), "every node gets this label from its machine; leave it out".to_owned());
        } else if trusted(key) {
            refuse(
                field(),
                "a node cannot give itself labels of kubernetes.io; use one below node.kubernetes.io/, or set it on \
                 the node with kubectl"
                    .to_owned(),
            );
        }
    }
    for (at, taint) in template.taints.iter().enumerate() {
        if let Some(reason) = bad_key(&taint.key).or_else(|| bad_value(&taint.value)) {
            refuse(format!("taints[{at}]"), reason);
        }
        let same = |other: &skep_api::machine::Taint| other.key == taint.key && other.effect == taint.effect;
        if template.taints[..at].iter().any(same) {
            refuse(format!("taints[{at}]"), format!("{}:{} is there twice", taint.key, taint.effect));
        }
    }
    if template.runtimes.iter().any(|runtime| runtime.handler == "runc") {
        refuse("runtimes".to_owned(), "runc is on every node; choose another handler".to_owned());
    }
    refused
}

/// What is wrong with a qualified name (`k8s.io/apimachinery/pkg/util/validation`, `IsQualifiedName`).
fn bad_key(key: &str) -> Option<String> {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let bad_prefix = |prefix: &str| {
        let label = |part: &str| {
            let alphanumeric = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
            part.starts_with(alphanumeric)
                && part.ends_with(alphanumeric)
                && part.chars().all(|c| alphanumeric(c) || c == '-')
        };
        prefix.len() > 253 || !prefix.split('.').all(label)
    };
    if name.is_empty() || !is_name(name) || prefix.is_some_and(bad_prefix) {
        return Some(format!("{key:?} is no label key: write name or example.com/name"));
    }
    None
}

fn bad_value(value: &str) -> Option<String> {
    (!value.is_empty() && !is_name(value)).then(|| {
        format!("{value:?} is no label value: at most 63 of A-Z, a-z, 0-9, -, _ and ., a letter or digit at both ends")
    })
}

fn is_name(text: &str) -> bool {
    let end = |c: char| c.is_ascii_alphanumeric();
    text.len() <= 63
        && text.starts_with(end)
        && text.ends_with(end)
        && text.chars().all(|c| end(c) || matches!(c, '-' | '_' | '.'))
}

fn space(key: &str) -> &str {
    key.split_once('/').map_or("", |(space, _)| space)
}

fn inside(space: &str, parent: &str) -> bool {
    space == parent || space.strip_suffix(parent).is_some_and(|rest| rest.ends_with('.'))
}

/// A label that means trust: `NodeRestriction` keeps nodes from setting it.
fn trusted(key: &str) -> bool {
    let space = space(key);
    UPSTREAM_SPACES.iter().any(|parent| inside(space, parent))
        && !KUBELET_LABELS.contains(&key)
        && !KUBELET_SPACES.iter().any(|parent| inside(space, parent))
}

#[cfg(test)]
mod tests {
    use skep_api::machine::{Runtime, Taint, TaintEffect};

    use super::super::fixtures::template;
    use super::*;

    fn with_label(key: &str, value: &str) -> Vec<String> {
        let mut template = template("local-small");
        template.labels.insert(key.to_owned(), value.to_owned());
        check(&template).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn labels_a_kubelet_may_set_pass() {
        for key in [
            "tier",
            "example.com/gpu",
            "node.kubernetes.io/pool",
            "x.node.kubernetes.io/a",
            "kubernetes.io/os",
        ] {
            assert_eq!(with_label(key, "a_B-1.c"), Vec::<String>::new(), "{key}");
        }
        assert!(with_label("tier", "").is_empty());
    }

    #[test]
    fn labels_that_mean_trust_and_those_every_node_gets_are_refused() {
        for key in ["node-role.kubernetes.io/control-plane", "node-restriction.kubernetes.io/a", "a.k8s.io/b"]
        {
            assert!(with_label(key, "")[0].contains("cannot give itself"), "{key}");
        }
        for key in ["kubernetes.io/hostname", "topology.kubernetes.io/zone", "skep.dev/pool", "x.skep.dev/y"]
        {
            assert!(with_label(key, "")[0].contains("from its machine"), "{key}");
        }
        assert!(with_label("notskep.dev/y", "").is_empty());
    }

    #[test]
    fn what_is_no_label_is_refused_with_its_field() {
        let long = "x".repeat(64);
        for key in ["", "/", "a/", "/a", "-a", "a b", "A.com/x", "a..b/x", long.as_str()] {
            assert!(with_label(key, "")[0].starts_with(&format!("template.labels[{key}]: ")), "{key}");
        }
        for value in ["-", "a b", "ü", long.as_str()] {
            assert!(with_label("tier", value)[0].contains("no label value"), "{value}");
        }
    }

    #[test]
    fn taints_are_checked_and_may_not_be_there_twice() {
        let taint =
            |key: &str| Taint { key: key.into(), value: String::new(), effect: TaintEffect::NoSchedule };
        let mut template = template("local-small");
        template.taints = vec![taint("gpu"), taint("a b"), taint("gpu")];
        let said: Vec<String> = check(&template).iter().map(ToString::to_string).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(
            said[0].starts_with("template.taints[1]: ") && said[1].contains("gpu:NoSchedule is there twice")
        );
    }

    #[test]
    fn the_runtime_that_is_always_there_cannot_be_given_again() {
        let mut template = template("local-small");
        template.runtimes = vec![Runtime { handler: "runc".into(), program: "crun".into() }];
        assert!(check(&template)[0].to_string().contains("runc is on every node"));
    }
}
