//! Names and labels of everything a tenant's control plane consists of.
//!
//! All names are fixed: a pass that was cut off anywhere finds its own objects again, and nothing has to be remembered.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use kube::Resource as _;
use skep_api::{ControlPlane, labels};
use skep_plan::flags::Program;

/// Secret with the tenant's authorities. Mounted nowhere: programs get copies of exactly what each of them needs.
pub const AUTHORITIES: &str = "authorities";
/// Secret with the certificate that opens the tenant's keys in its datastore.
pub const DATASTORE_CLIENT: &str = "etcd-client";
/// Secret with the administrator's kubeconfig.
pub const ADMIN: &str = "admin-kubeconfig";
/// Key of the kubeconfig in [`ADMIN`], as Cluster API has it.
pub const KUBECONFIG_KEY: &str = "value";
/// NetworkPolicy that forbids whatever no other one allows.
pub const DENY: &str = "default-deny";
/// NetworkPolicy of the two controllers.
pub const CONTROLLERS: &str = "controllers";

/// Pod label: which version of its program a pod runs.
pub const VERSION_LABEL: &str = "app.kubernetes.io/version";
/// Pod label: digest of the pod template, so that a pod says by itself whether it is as wanted.
pub const REVISION_LABEL: &str = "skep.dev/revision";
/// Pod annotation: digest of files that the program reads only once.
pub const FILES_ANNOTATION: &str = "skep.dev/files";

/// Selector of everything that belongs to a tenant.
pub fn of_tenant(tenant: &str) -> String {
    format!("{}={},{}={tenant}", labels::MANAGED_BY, labels::MANAGED_BY_SKEP, labels::TENANT)
}

/// Labels of everything that belongs to a control plane.
pub fn common(owner: &ControlPlane) -> BTreeMap<String, String> {
    let spec = &owner.spec;
    map([
        (labels::MANAGED_BY, labels::MANAGED_BY_SKEP),
        (labels::TENANT, &spec.tenant),
        (labels::PROJECT, &spec.cluster.namespace),
        (labels::CLUSTER, &spec.cluster.name),
    ])
}

/// Labels by which a program's pods are selected. They can never change.
pub fn selector(tenant: &str, program: Program) -> LabelSelector {
    let labels = map([(labels::TENANT, tenant), (labels::COMPONENT, program.name())]);
    LabelSelector { match_labels: Some(labels), match_expressions: None }
}

/// Metadata of an object in the tenant's namespace, owned by the control plane.
pub fn meta(owner: &ControlPlane, name: &str) -> ObjectMeta {
    ObjectMeta {
        name: Some(name.to_owned()),
        namespace: owner.metadata.namespace.clone(),
        labels: Some(common(owner)),
        owner_references: Some(owner.controller_owner_ref(&()).into_iter().collect()),
        ..ObjectMeta::default()
    }
}

/// A map of strings.
pub fn map<const N: usize>(entries: [(&str, &str); N]) -> BTreeMap<String, String> {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
}
