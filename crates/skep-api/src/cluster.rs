//! `Cluster`: what a tenant team asks for.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    resources::{Availability, ClusterNetwork, DNS_LABEL, Flag, Reconciliation},
    version,
};

/// A whole Kubernetes cluster. Every field has a default, so that an empty spec is a cluster.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, Default, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "Cluster",
    namespaced,
    status = "ClusterStatus",
    shortname = "skc",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Size", type_ = "string", json_path = ".status.sizeClass"),
    printcolumn(name = "Endpoint", type_ = "string", json_path = ".status.endpoint.server", priority = 1),
    printcolumn(name = "Tenant", type_ = "string", json_path = ".status.tenant", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "A Kubernetes cluster of a tenant team.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a cluster's name is at most 40 characters of a-z, 0-9 and -, starting with a letter"),
    cel
)]
#[x_kube(
    validation = Rule::new("!has(self.version) || !has(self.channel)")
        .message("set version or channel, not both: a channel chooses the version"),
    validation = Rule::new("!has(oldSelf.network) || (has(self.network) && self.network == oldSelf.network)")
        .message("network cannot change after creation: make a new cluster"),
    validation = Rule::new("has(oldSelf.network) || !has(self.network)")
        .message("network cannot change after creation: make a new cluster")
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterSpec {
    /// Kubernetes version, like `v1.36.3`: one of the `Release` objects. Without it the channel decides.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 40), pattern(version::PATTERN))]
    pub version: Option<String>,
    /// Where new versions come from when `version` is not set; `Stable` when neither is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<Channel>,
    /// `ClusterProfile` with the defaults of this kind of cluster; `standard` when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub profile: Option<String>,
    /// Size of the control plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// How many copies run; the profile's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Availability>,
    /// Address ranges; the profile's when not set. Cannot change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<ClusterNetwork>,
    /// Extra flags of the control plane's programs. Flags that Skep itself sets are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flags: Option<ControlPlaneFlags>,
    /// Parts beside the control plane, on or for the cluster's own nodes.
    #[serde(default)]
    pub components: Components,
    /// Whether Skep works on this cluster.
    #[serde(default)]
    pub reconciliation: Reconciliation,
}

/// Parts beside the control plane.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Components {
    /// CoreDNS.
    #[serde(default)]
    pub dns: ComponentMode,
    /// metrics-server: `kubectl top` and autoscaling by CPU and memory.
    #[serde(default)]
    pub metrics: ComponentMode,
    /// cluster-autoscaler, for node pools with `spec.scaling`.
    #[serde(default = "off")]
    pub autoscaler: ComponentMode,
}

impl Default for Components {
    fn default() -> Self {
        Self { dns: ComponentMode::Managed, metrics: ComponentMode::Managed, autoscaler: off() }
    }
}

/// Who asks for no component that costs something by itself gets none.
fn off() -> ComponentMode {
    ComponentMode::Off
}

/// Who looks after a component.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum ComponentMode {
    /// Skep installs it and keeps it as it is.
    #[default]
    Managed,
    /// Nobody, or the tenant team: Skep does not install it. What is installed on the cluster's nodes stays.
    Off,
}

/// A stream of versions.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum Channel {
    /// The newest stable release.
    #[default]
    Stable,
    /// The newest release that is stable or in preview.
    Preview,
}

/// Size of a control plane.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Size {
    /// Name of a `SizeClass`.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub class: String,
}

/// Extra flags, by program.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ControlPlaneFlags {
    /// Of kube-apiserver.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub api_server: Vec<Flag>,
    /// Of kube-controller-manager.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub controller_manager: Vec<Flag>,
    /// Of kube-scheduler.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub scheduler: Vec<Flag>,
    /// Of cluster-autoscaler, where it is a component.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub autoscaler: Vec<Flag>,
}

/// What Skep observed and decided.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterStatus {
    /// Conditions: Ready, Accepted, ControlPlaneReady, Progressing, Paused, AutoscalerReady.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for tables, derived from the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Kubernetes version that serves now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub version: Option<String>,
    /// Size class in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub size_class: Option<String>,
    /// How to reach the API server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<Endpoint>,
    /// Tenant id: the namespace of the control plane in its cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub tenant: Option<String>,
    /// Secret in the same namespace with the admin kubeconfig under the key `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub kubeconfig_secret: Option<String>,
}

/// One word about a cluster.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema, strum::Display)]
pub enum Phase {
    /// Accepted or not yet looked at; nothing serves yet.
    Provisioning,
    /// It answers and is as its spec says.
    Ready,
    /// It answers and a change is under way.
    Updating,
    /// It should answer and does not.
    Degraded,
    /// Its spec cannot be fulfilled; the conditions say why.
    Refused,
    /// Left alone because its spec says so.
    Paused,
    /// On its way out.
    Deleting,
}

/// How clients reach an API server through the gateway.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// URL of the gateway, like `https://127.0.0.1:6443`.
    #[schemars(length(min = 9, max = 300), pattern("^https://"))]
    pub server: String,
    /// Name that clients put into SNI and check in the certificate (`tls-server-name` of a kubeconfig).
    #[schemars(length(min = 1, max = 253))]
    pub host: String,
}
