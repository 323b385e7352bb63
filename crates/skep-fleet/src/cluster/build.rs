//! Pure: the objects of a cluster in its cell.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{Resource as _, ResourceExt as _};
use skep_api::{Cluster, ControlPlane, ControlPlaneSpec, TenantId, labels};

/// Type of the Secret and key of the kubeconfig in it, as Cluster API has them
/// (`util/kubeconfig`, `api/core/v1beta2/common_types.go`), so that its users' tools find them.
pub const KUBECONFIG_TYPE: &str = "cluster.x-k8s.io/secret";
/// See [`KUBECONFIG_TYPE`].
pub const KUBECONFIG_KEY: &str = "value";
/// Cluster API's label with the cluster's name.
const CAPI_CLUSTER: &str = "cluster.x-k8s.io/cluster-name";

/// Labels of everything that belongs to the cluster.
pub fn labels(cluster: &Cluster, tenant: &TenantId) -> BTreeMap<String, String> {
    [
        (labels::MANAGED_BY, labels::MANAGED_BY_SKEP.to_owned()),
        (labels::TENANT, tenant.to_string()),
        (labels::PROJECT, cluster.namespace().unwrap_or_default()),
        (labels::CLUSTER, cluster.name_any()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Whether an object was made for this tenant.
pub fn belongs_to(object: &impl kube::Resource, tenant: &TenantId) -> bool {
    object.labels().get(labels::TENANT).is_some_and(|label| label == tenant.as_str())
}

/// The tenant's namespace: only pods that keep to the restricted standard may run in it.
pub fn namespace(cluster: &Cluster, tenant: &TenantId) -> Namespace {
    let mut labels = labels(cluster, tenant);
    labels.insert("pod-security.kubernetes.io/enforce".to_owned(), "restricted".to_owned());
    Namespace {
        metadata: ObjectMeta { name: Some(tenant.to_string()), labels: Some(labels), ..Default::default() },
        ..Default::default()
    }
}

/// The control plane, in the tenant's namespace and of its name.
pub fn control_plane(cluster: &Cluster, tenant: &TenantId, spec: ControlPlaneSpec) -> ControlPlane {
    let mut object = ControlPlane::new(tenant.as_str(), spec);
    object.metadata.namespace = Some(tenant.to_string());
    object.metadata.labels = Some(labels(cluster, tenant));
    object
}

/// The Secret with the kubeconfig beside the cluster, which owns it.
pub fn kubeconfig(cluster: &Cluster, tenant: &TenantId, kubeconfig: &[u8]) -> Secret {
    let mut labels = labels(cluster, tenant);
    labels.insert(CAPI_CLUSTER.to_owned(), cluster.name_any());
    Secret {
        metadata: ObjectMeta {
            name: Some(kubeconfig_name(cluster)),
            namespace: cluster.namespace(),
            labels: Some(labels),
            owner_references: Some(cluster.controller_owner_ref(&()).into_iter().collect()),
            ..Default::default()
        },
        type_: Some(KUBECONFIG_TYPE.to_owned()),
        data: Some(
            [(KUBECONFIG_KEY.to_owned(), k8s_openapi::ByteString(kubeconfig.to_vec()))].into_iter().collect(),
        ),
        ..Default::default()
    }
}

/// Selector of the Secrets with kubeconfigs.
pub fn kubeconfigs() -> String {
    format!("{}={},{CAPI_CLUSTER}", labels::MANAGED_BY, labels::MANAGED_BY_SKEP)
}

/// Name of the Secret with the kubeconfig: `<cluster>-kubeconfig`, as Cluster API has it.
pub fn kubeconfig_name(cluster: &Cluster) -> String {
    format!("{}-kubeconfig", cluster.name_any())
}
