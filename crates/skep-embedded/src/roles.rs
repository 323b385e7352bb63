//! Who may do what on the hub: one ClusterRole for each part that is not an administrator.
//!
//! The API server itself needs no role towards the nodes: they recognise its certificate.

use k8s_openapi::{
    api::rbac::v1::{ClusterRole, ClusterRoleBinding, PolicyRule, RoleRef, Subject},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use skep_api::labels;

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

/// Everything an installation grants.
pub fn grants() -> Vec<Grant> {
    vec![
        grant("skep:operator", user(pki::OPERATOR_USER), operator()),
        grant("skep:gateway", user(pki::GATEWAY_USER), gateway()),
        grant("skep:nodes", user(pki::NODES_USER), nodes()),
    ]
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

const READ: &[&str] = &["get", "list", "watch"];
const WRITE: &[&str] = &["get", "list", "watch", "create", "update", "patch", "delete"];

fn rule(api_group: &str, resources: &[&str], verbs: &[&str]) -> PolicyRule {
    let own = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    PolicyRule {
        api_groups: Some(vec![api_group.to_owned()]),
        resources: Some(own(resources)),
        verbs: own(verbs),
        ..PolicyRule::default()
    }
}

fn events() -> PolicyRule {
    rule("events.k8s.io", &["events"], &["create", "patch"])
}

fn operator() -> Vec<PolicyRule> {
    vec![
        rule(skep_api::GROUP, &["clusters", "controlplanes", "datastores"], WRITE),
        rule(
            skep_api::GROUP,
            &["clusters/status", "controlplanes/status", "datastores/status"],
            &["get", "update", "patch"],
        ),
        rule(
            skep_api::GROUP,
            &["clusters/finalizers", "controlplanes/finalizers", "datastores/finalizers"],
            &["update"],
        ),
        rule(skep_api::GROUP, &["sizeclasses", "clusterprofiles", "releases"], READ),
        // What a control plane is made of.
        rule("", &["namespaces", "secrets", "configmaps", "services", "persistentvolumeclaims"], WRITE),
        rule("apps", &["deployments", "statefulsets"], WRITE),
        rule("policy", &["poddisruptionbudgets"], WRITE),
        rule("networking.k8s.io", &["networkpolicies"], WRITE),
        rule("", &["pods"], READ),
        rule("", &["pods"], &["delete"]),
        rule("apps", &["replicasets"], READ),
        rule("coordination.k8s.io", &["leases"], &["get", "create", "update", "patch"]),
        events(),
    ]
}

fn gateway() -> Vec<PolicyRule> {
    vec![rule(skep_api::GROUP, &["controlplanes"], READ), rule("", &["pods"], READ)]
}

/// What upstream's `system:node` may, without the restriction to own pods (they are all its own), and what a volume
/// provisioner needs.
fn nodes() -> Vec<PolicyRule> {
    vec![
        rule("", &["nodes"], &["get", "list", "watch", "create", "patch", "update"]),
        rule("", &["nodes/status"], &["patch", "update"]),
        rule("coordination.k8s.io", &["leases"], &["get", "create", "patch", "update", "delete"]),
        rule("", &["pods"], &["get", "list", "watch", "delete"]),
        rule("", &["pods/status"], &["patch", "update"]),
        rule("", &["secrets", "configmaps"], READ),
        rule("", &["serviceaccounts"], &["get"]),
        rule("", &["serviceaccounts/token"], &["create"]),
        rule("", &["namespaces"], &["get"]),
        rule("", &["persistentvolumes"], WRITE),
        rule("", &["persistentvolumeclaims"], READ),
        rule("storage.k8s.io", &["storageclasses"], &["get", "list", "watch", "create"]),
        rule("", &["events"], &["create", "patch", "update"]),
        events(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_may_do_everything() {
        for grant in grants() {
            let name = grant.role.metadata.name.unwrap();
            for rule in grant.role.rules.unwrap() {
                let words = [rule.api_groups, rule.resources, Some(rule.verbs)];
                assert!(!words.into_iter().flatten().flatten().any(|word| word == "*"), "{name}");
            }
            assert_eq!(grant.binding.role_ref.name, name);
        }
    }

    #[test]
    fn the_gateway_sees_no_secrets() {
        let reads_secrets = |grant: &Grant| {
            let rules = grant.role.rules.iter().flatten();
            rules.flat_map(|rule| rule.resources.iter().flatten()).any(|resource| resource == "secrets")
        };
        let names: Vec<_> = grants()
            .iter()
            .filter(|grant| reads_secrets(grant))
            .filter_map(|g| g.role.metadata.name.clone())
            .collect();
        assert_eq!(names, ["skep:operator", "skep:nodes"]);
    }
}
