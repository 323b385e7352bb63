//! `Machine`: one node's life in an infrastructure.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    node_pool::Drain,
    node_repair::{FailureSign, RepairRecord},
    resources::{DNS_LABEL, QUANTITY},
    version,
};

/// One machine and the node it becomes. Pools make and delete machines; a person may delete one, or exempt it from repair.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "Machine",
    namespaced,
    status = "MachineStatus",
    shortname = "mac",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.versions.kubelet"),
    printcolumn(name = "Zone", type_ = "string", json_path = ".spec.zone"),
    printcolumn(name = "Address", type_ = "string", json_path = ".status.address"),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.template.machineClass", priority = 1),
    printcolumn(name = "Provider ID", type_ = "string", json_path = ".status.providerId", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "One machine and the node it becomes.",
    validation = Rule::new("self.metadata.name.size() <= 63 && self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')")
        .message("a machine's name is its node's: at most 63 characters of a-z, 0-9 and -")
)]
#[x_kube(
    validation = Rule::new("self.cluster == oldSelf.cluster").message("cluster cannot change"),
    validation = Rule::new("self.zone == oldSelf.zone").message("zone cannot change: make another machine"),
    validation = Rule::new("self.template.machineClass == oldSelf.template.machineClass")
        .message("machineClass cannot change: make another machine")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineSpec {
    /// `Cluster` in the same namespace that the node joins.
    #[schemars(length(min = 1, max = 40), pattern(DNS_LABEL))]
    pub cluster: String,
    /// Zone the machine stands in.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub zone: String,
    /// What the node is like.
    pub template: NodeTemplate,
    /// How pods leave the node when the machine goes or is changed. A pool keeps its machines' rules as its own.
    #[serde(default)]
    pub drain: Drain,
    /// Whether the platform may reboot or replace this machine by itself.
    #[serde(default)]
    pub repair: MachineRepair,
}

/// Whether repair may touch a machine.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum MachineRepair {
    /// As the pool's policy says.
    #[default]
    AsPool,
    /// Never: a person looks at it.
    Exempt,
}

/// What a node is like: shared by a pool and its machines.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeTemplate {
    /// Name of a `MachineClass`.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub machine_class: String,
    /// Kubernetes version of the node, like `v1.36.3`, within upstream's skew of the control plane's; follows the
    /// control plane when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 6, max = 40), pattern(version::PATTERN))]
    pub version: Option<String>,
    /// Labels of the node. A node cannot give itself those of `kubernetes.io` that mean trust.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 32))]
    pub labels: BTreeMap<String, String>,
    /// Taints the node registers with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub taints: Vec<Taint>,
    /// Settings of the kubelet.
    #[serde(default)]
    pub kubelet: KubeletSettings,
    /// OCI runtimes besides runc, chosen by a pod's RuntimeClass.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["handler".into()]))]
    pub runtimes: Vec<Runtime>,
}

/// A taint, as in a Node.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Taint {
    /// Key, like `example.com/gpu`.
    #[schemars(length(min = 1, max = 316))]
    pub key: String,
    /// Value; may be empty.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub value: String,
    /// What it does to pods that do not tolerate it.
    pub effect: TaintEffect,
}

/// What a taint does.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema, strum::Display)]
pub enum TaintEffect {
    /// No new pods.
    NoSchedule,
    /// New pods only when nothing else fits.
    PreferNoSchedule,
    /// No new pods, and running ones go.
    NoExecute,
}

/// Settings of a kubelet, named as in `KubeletConfiguration`. What is not set has upstream's default.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubeletSettings {
    /// Pods at most; the class's when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_pods: Option<i32>,
    /// Processes of one pod at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 16, max = 4_194_304))]
    pub pod_pids_limit: Option<i64>,
    /// CPU kept for the node's own programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub reserved_cpu: Option<String>,
    /// Memory kept for the node's own programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub reserved_memory: Option<String>,
    /// Thresholds at which pods are evicted, by signal: `memory.available: 100Mi`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(length(max = 8))]
    pub eviction_hard: BTreeMap<String, String>,
    /// Share of the disk in per cent above which unused images are removed; 100 turns it off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub image_gc_high_threshold_percent: Option<i32>,
    /// Images pulled side by side; one after the other when 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_parallel_image_pulls: Option<i32>,
}

/// An OCI runtime of a node.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Runtime {
    /// Handler that a RuntimeClass names.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub handler: String,
    /// Program on the node that speaks runc's command line, like `crun`: a path, or a name to be found.
    #[schemars(length(min = 1, max = 255), pattern("^[A-Za-z0-9/._-]+$"))]
    pub program: String,
}

/// What is known of a machine.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineStatus {
    /// Conditions: Ready, Accepted, MachineReady, NodeReady, Draining.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// One word for tables, derived from the conditions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<MachinePhase>,
    /// The machine as its infrastructure knows it, and `spec.providerID` of its node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub provider_id: Option<String>,
    /// Address of the machine in the nodes' network.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 45))]
    pub address: Option<String>,
    /// What the machine was last made as. Absent until something is asked of the infrastructure; other than the spec's
    /// while the machine is changed in place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<NodeTemplate>,
    /// Name of the node, once it has joined.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub node: Option<String>,
    /// What runs on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub versions: Option<NodeVersions>,
    /// Since when its node has not been ready, as far as somebody could look; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unready_since: Option<Time>,
    /// When its node stopped being ready, in the last hour.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub stops: Vec<Time>,
    /// Signs that it will fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub failure_signs: Vec<FailureSign>,
    /// When it was last repaired, and how often: repair acts once, then waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repair: Option<RepairRecord>,
}

/// One word about a machine.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, strum::Display)]
pub enum MachinePhase {
    /// Nothing was asked of the infrastructure yet.
    Pending,
    /// The infrastructure makes it.
    Provisioning,
    /// It runs; its node has not registered or is not ready for the first time.
    Joining,
    /// Its node is ready.
    Ready,
    /// Its node was ready and is not.
    NotReady,
    /// Its pods are asked to leave.
    Draining,
    /// The infrastructure removes it.
    Deleting,
    /// It cannot be made; the conditions say why.
    Failed,
}

/// Versions a node reports.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeVersions {
    /// Of the kubelet.
    #[schemars(length(max = 64))]
    pub kubelet: String,
    /// Of the container runtime, like `containerd://2.2.1`.
    #[serde(default)]
    #[schemars(length(max = 64))]
    pub container_runtime: String,
    /// Of the kernel.
    #[serde(default)]
    #[schemars(length(max = 128))]
    pub kernel: String,
}
