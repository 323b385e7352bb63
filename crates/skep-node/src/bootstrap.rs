//! What a tenant cluster needs so that machines can join it: two bindings once, and a token for each machine.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::rbac::v1::{ClusterRoleBinding, RoleRef, Subject};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skep_api::labels;

pub mod token;

/// Pause until the bindings are applied again: somebody may have taken them away.
pub const APPLY_AGAIN: Duration = Duration::from_secs(3600);
/// Group of everybody who joins with one of our tokens. Upstream wants this prefix in `auth-extra-groups`
/// (`k8s.io/cluster-bootstrap/token/api`, `BootstrapDefaultGroup`).
pub const GROUP: &str = "system:bootstrappers:skep";
/// Group of nodes' own certificates.
pub const NODES: &str = "system:nodes";

const RBAC: &str = "rbac.authorization.k8s.io";

/// The bindings of every tenant with machines. The roles are upstream's own, in every cluster.
pub fn roles() -> Vec<ClusterRoleBinding> {
    vec![
        // To ask for a certificate, and see it; who gets one is decided by the approver.
        binding("skep:node-bootstrapper", GROUP, "system:node-bootstrapper"),
        // kube-proxy and the agent use the kubelet's certificate.
        binding("skep:node-proxier", NODES, "system:node-proxier"),
    ]
}

fn binding(name: &str, group: &str, role: &str) -> ClusterRoleBinding {
    ClusterRoleBinding {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(managed()),
            ..ObjectMeta::default()
        },
        role_ref: RoleRef { api_group: RBAC.into(), kind: "ClusterRole".into(), name: role.into() },
        subjects: Some(vec![Subject {
            api_group: Some(RBAC.into()),
            kind: "Group".into(),
            name: group.into(),
            namespace: None,
        }]),
    }
}

fn managed() -> BTreeMap<String, String> {
    [(labels::MANAGED_BY.to_owned(), labels::MANAGED_BY_SKEP.to_owned())].into()
}
