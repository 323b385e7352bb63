//! Who may do what on the hub: one ClusterRole for each part that is not an administrator.
//!
//! The API server itself needs no role towards the nodes: they recognise its certificate.

use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use skep_api::labels;
use skep_plan::egress::tunnel;

use crate::pki;

const RBAC: &str = "rbac.authorization.k8s.io";

/// A role and who has it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The role.
    pub role: ClusterRole,
    /// Its one subject.
    pub binding: ClusterRoleBinding,
}

/// Who the parts are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subjects {
    /// Parts of this process, with certificates. Among them are virtual nodes.
    Users,
    /// Pods. The nodes are real ones, and have upstream's roles.
    ServiceAccounts,
}

/// Everything an installation grants.
pub fn grants(subjects: Subjects) -> Vec<Grant> {
    match subjects {
        Subjects::Users => vec![
            grant("skep:operator", user(pki::OPERATOR_USER), operator()),
            grant("skep:gateway", user(pki::GATEWAY_USER), gateway()),
            grant("skep:nodes", user(pki::NODES_USER), nodes()),
        ],
        Subjects::ServiceAccounts => vec![
            grant("skep:operator", account("skep-operator"), operator()),
            grant("skep:gateway", account("skep-gateway"), gateway()),
            grant("skep:volumes", account("skep-volumes"), volumes()),
        ],
    }
}

fn grant(name: &str, subject: Subject, rules: Vec<PolicyRule>) -> Grant {
    let metadata = ObjectMeta {
        name: Some(name.to_owned()),
        labels: Some([(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_SKEP.to_owned())].into()),
        ..ObjectMeta::default()
    };
    Grant {
        role: ClusterRole { metadata: metadata.clone(), rules: Some(rules), ..ClusterRole::default() },
        binding: ClusterRoleBinding {
            metadata,
            role_ref: RoleRef { api_group: RBAC.into(), kind: "ClusterRole".into(), name: name.into() },
            subjects: Some(vec![subject]),
        },
    }
}

fn user(name: &str) -> Subject {
    Subject { api_group: Some(RBAC.into()), kind: "User".into(), name: name.into(), namespace: None }
}

fn account(name: &str) -> Subject {
    Subject {
        api_group: None,
        kind: "ServiceAccount".into(),
        name: name.into(),
        namespace: Some(skep_api::SYSTEM_NAMESPACE.into()),
    }
}

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

/// Kinds that the operator brings to their spec.
const OWNED: [&str; 5] = ["clusters", "controlplanes", "datastores", "nodepools", "machines"];

fn rule(api_group: &str, resources: &[impl ToString], verbs: &[&str]) -> PolicyRule {
    PolicyRule {
        api_groups: Some(vec![api_group.to_owned()]),
        resources: Some(resources.iter().map(ToString::to_string).collect()),
        verbs: verbs.iter().map(ToString::to_string).collect(),
        ..PolicyRule::default()
    }
}

fn events() -> PolicyRule {
    rule("events.k8s.io", &["events"], &["create", "patch"])
}

fn operator() -> Vec<PolicyRule> {
    vec![
        rule(skep_api::GROUP, &OWNED, WRITE),
        rule(skep_api::GROUP, &OWNED.map(|kind| format!("{kind}/status")), &["get", "update", "patch"]),
        rule(skep_api::GROUP, &OWNED.map(|kind| format!("{kind}/finalizers")), &["update"]),
        rule(skep_api::GROUP, &["sizeclasses", "clusterprofiles", "releases", "machineclasses"], READ),
        // What a control plane is made of.
        rule("", &["namespaces", "secrets", "configmaps", "services", "persistentvolumeclaims"], WRITE),
        rule("apps", &["deployments", "statefulsets"], WRITE),
        rule("policy", &["poddisruptionbudgets"], WRITE),
        rule("networking.k8s.io", &["networkpolicies"], WRITE),
        rule("", &["pods"], READ),
        rule("", &["pods"], &["delete"]),
        rule("apps", &["replicasets"], READ),
        // Whoever does not lead watches who does.
        rule("coordination.k8s.io", &["leases"], &["get", "list", "watch", "create", "update", "patch"]),
        events(),
    ]
}

/// Of Secrets just the two that it shows in tunnels, by name: no tenant's key, and none that signs.
fn gateway() -> Vec<PolicyRule> {
    let names = [tunnel::SECRET, tunnel::DOOR_SECRET].map(str::to_owned).to_vec();
    let shown = PolicyRule { resource_names: Some(names), ..rule("", &["secrets"], &["get"]) };
    vec![rule(skep_api::GROUP, &["controlplanes"], READ), rule("", &["pods"], READ), shown]
}

/// What upstream's `system:node` may, without the restriction to own pods (they are all its own), and volumes.
fn nodes() -> Vec<PolicyRule> {
    let own = [
        rule("", &["nodes"], &["get", "list", "watch", "create", "patch", "update"]),
        rule("", &["nodes/status"], &["patch", "update"]),
        rule("coordination.k8s.io", &["leases"], &["get", "create", "patch", "update", "delete"]),
        rule("", &["pods"], &["get", "list", "watch", "delete"]),
        rule("", &["pods/status"], &["patch", "update"]),
        rule("", &["secrets", "configmaps"], READ),
        rule("", &["serviceaccounts"], &["get"]),
        rule("", &["serviceaccounts/token"], &["create"]),
        events(),
    ];
    own.into_iter().chain(volumes()).collect()
}

/// What a volume provisioner needs.
fn volumes() -> Vec<PolicyRule> {
    vec![
        rule("", &["namespaces"], &["get"]),
        rule("", &["persistentvolumes"], WRITE),
        rule("", &["persistentvolumeclaims"], READ),
        rule("storage.k8s.io", &["storageclasses"], &["get", "list", "watch", "create"]),
        rule("", &["events"], &["create", "patch", "update"]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_do_everything() {
        for grant in grants(Subjects::Users).into_iter().chain(grants(Subjects::ServiceAccounts)) {
            let name = grant.role.metadata.name.unwrap();
            for rule in grant.role.rules.unwrap() {
                let words = [rule.api_groups, rule.resources, Some(rule.verbs)];
                assert!(!words.into_iter().flatten().flatten().any(|word| word == "*"), "{name}");
            }
            assert_eq!(grant.binding.role_ref.name, name);
        }
    }

    #[test]
    fn the_gateway_sees_only_what_it_shows() {
        let of_secrets = |grant: &Grant| {
            let rules = grant.role.rules.clone().into_iter().flatten();
            rules
                .filter(|rule| rule.resources.iter().flatten().any(|resource| resource == "secrets"))
                .collect()
        };
        let reads_secrets = |grant: &Grant| {
            let rules: Vec<PolicyRule> = of_secrets(grant);
            rules.iter().any(|rule| rule.resource_names.is_none())
        };
        let gateway = grants(Subjects::Users)
            .into_iter()
            .find(|g| g.role.metadata.name.as_deref() == Some("skep:gateway"));
        let rules: Vec<PolicyRule> = of_secrets(&gateway.unwrap());
        assert_eq!(rules.len(), 1);
        assert_eq!(rules[0].verbs, ["get"]);
        assert_eq!(rules[0].resource_names.as_deref().unwrap_or_default(), ["tunnel", "tunnel-door"]);
        let names: Vec<_> = grants(Subjects::Users)
            .iter()
            .filter(|grant| reads_secrets(grant))
            .filter_map(|g| g.role.metadata.name.clone())
            .collect();
        assert_eq!(names, ["skep:operator", "skep:nodes"]);
    }
}
