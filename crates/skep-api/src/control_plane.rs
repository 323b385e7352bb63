//! `ControlPlane`: a tenant's control plane in a cell, with everything resolved.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::{
    cluster::Endpoint,
    resources::{ClusterNetwork, DNS_LABEL, Flag, IMAGE, Reconciliation, ResourceBundle},
    tenant, version,
};

/// What a cell runs for one tenant. Written by the hub operator; nothing in it needs the catalogue to be understood,
/// so that a cell goes on when its hub is away.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "ControlPlane",
    namespaced,
    status = "ControlPlaneStatus",
    shortname = "skcp",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster.name"),
    printcolumn(name = "Project", type_ = "string", json_path = ".spec.cluster.namespace"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status"
    ),
    printcolumn(name = "API Servers", type_ = "integer", json_path = ".status.readyApiServers"),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "A tenant's control plane in a cell, fully resolved.",
    cel
)]
#[x_kube(
    validation = Rule::new("self.tenant == oldSelf.tenant").message("tenant cannot change"),
    validation = Rule::new("self.network == oldSelf.network").message("network cannot change"),
    validation = Rule::new("self.datastore == oldSelf.datastore")
        .message("datastore cannot change: data is moved by a plan of its own")
)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneSpec {
    /// The `Cluster` this belongs to.
    pub cluster: ClusterRef,
    /// Tenant id: also the namespace of this object.
    #[schemars(length(min = 1, max = tenant::MAX_LENGTH), pattern(tenant::PATTERN))]
    pub tenant: String,
    /// Kubernetes version, like `v1.36.3`.
    #[schemars(length(min = 6, max = 40), pattern(version::PATTERN))]
    pub version: String,
    /// Image with the control plane's programs.
    #[schemars(length(min = 1, max = 255), pattern(IMAGE))]
    pub image: String,
    /// Size class the resources were taken from, for display.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub size_class: String,
    /// kube-apiserver.
    pub api_server: ApiServer,
    /// kube-controller-manager.
    pub controller_manager: Controller,
    /// kube-scheduler.
    pub scheduler: Controller,
    /// Where the tenant's keys are.
    pub datastore: DatastoreRef,
    /// Address ranges.
    pub network: ClusterNetwork,
    /// How clients reach it.
    pub endpoint: Endpoint,
    /// Whether the cell operator works on it.
    #[serde(default)]
    pub reconciliation: Reconciliation,
}

/// A `Cluster` in the hub.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterRef {
    /// Namespace, which is the project.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub namespace: String,
    /// Name.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub name: String,
    /// UID: a cluster made again under the same name is another one.
    #[schemars(length(min = 1, max = 64))]
    pub uid: String,
}

/// A `Datastore` in the cell.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatastoreRef {
    /// Namespace.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub namespace: String,
    /// Name.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub name: String,
}

/// kube-apiserver of a tenant.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiServer {
    /// Copies.
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,
    /// Requests, limits, GOMEMLIMIT.
    pub resources: ResourceBundle,
    /// `--max-requests-inflight`.
    #[schemars(range(min = 10, max = 10_000))]
    pub max_requests_inflight: i32,
    /// `--max-mutating-requests-inflight`.
    #[schemars(range(min = 5, max = 5_000))]
    pub max_mutating_requests_inflight: i32,
    /// Flags that Skep does not set itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub flags: Vec<Flag>,
}

/// kube-controller-manager or kube-scheduler of a tenant.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Controller {
    /// Copies; with more than one they elect a leader.
    #[schemars(range(min = 1, max = 9))]
    pub replicas: i32,
    /// Requests, limits, GOMEMLIMIT.
    pub resources: ResourceBundle,
    /// Flags that Skep does not set itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub flags: Vec<Flag>,
}

/// What the cell operator observed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneStatus {
    /// Conditions: Ready, CertificatesReady, DatastoreReady, ControlPlaneReady, Progressing, Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Version of every API server that serves; the lower one while two versions serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub version: Option<String>,
    /// Highest version an API server has ever served with: storage may hold what an older minor cannot read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub highest_version: Option<String>,
    /// API servers that are ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_api_servers: Option<i32>,
    /// Secret in the same namespace with the admin kubeconfig under the key `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kubeconfig_secret: Option<String>,
}
