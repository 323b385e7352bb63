//! `NodePool`: a number of equal nodes of a cluster.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{machine::NodeTemplate, node_repair::RepairOrder, resources::DNS_LABEL};

/// Equal nodes. Changing the machine class or the zones replaces machines; everything else of the template reaches
/// machines as `update` says.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "NodePool",
    namespaced,
    status = "NodePoolStatus",
    shortname = "np",
    category = "skep",
    derive = "PartialEq",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.cluster"),
    printcolumn(name = "Desired", type_ = "integer", json_path = ".status.desired"),
    printcolumn(name = "Ready", type_ = "integer", json_path = ".status.readyReplicas"),
    printcolumn(name = "Updated", type_ = "integer", json_path = ".status.updatedReplicas"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Versions", type_ = "string", json_path = ".status.versionSummary", priority = 1),
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.template.machineClass"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "A number of equal nodes of a cluster.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a pool's name is at most 40 characters of a-z, 0-9 and -, starting with a letter")
)]
#[x_kube(
    validation = Rule::new("self.cluster == oldSelf.cluster").message("cluster cannot change: make another pool"),
    validation = Rule::new("!has(self.scaling) || self.scaling.min <= self.scaling.max")
        .message("scaling.min must not be above scaling.max"),
    validation = Rule::new("!has(self.scaling) || !has(self.replicas) || (self.replicas >= self.scaling.min && self.replicas <= self.scaling.max)")
        .message("replicas must be within scaling.min and scaling.max")
)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolSpec {
    /// `Cluster` in the same namespace.
    #[schemars(length(min = 1, max = 40), pattern(DNS_LABEL))]
    pub cluster: String,
    /// How many nodes; `scaling.min`, or 1, when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 5000))]
    pub replicas: Option<i32>,
    /// Bounds within which an autoscaler may set `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// Zones to spread over; all of the class when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63), pattern(DNS_LABEL)))]
    pub zones: Vec<String>,
    /// What the nodes are like.
    pub template: NodeTemplate,
    /// How a changed template reaches machines.
    #[serde(default)]
    pub update: Update,
    /// How pods leave a node that goes.
    #[serde(default)]
    pub drain: Drain,
    /// What happens to nodes that are not ready.
    #[serde(default)]
    pub repair: Repair,
}

/// Bounds of an autoscaler.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scaling {
    /// Fewest nodes.
    #[schemars(range(min = 0, max = 5000))]
    pub min: i32,
    /// Most nodes.
    #[schemars(range(min = 0, max = 5000))]
    pub max: i32,
    /// Machines that go, whatever else the pool needs. An autoscaler names them in the same write that lowers `replicas`, so
    /// that no machine is made in their place and none goes instead of them. Names of machines that are gone say nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256), inner(length(min = 1, max = 63), pattern(DNS_LABEL)))]
    pub remove: Vec<String>,
}

/// How a changed template reaches machines.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.strategy != 'Surge' || string(self.maxSurge) != '0' || string(self.maxUnavailable) != '0'")
        .message("with strategy Surge one of maxSurge and maxUnavailable must be above 0")
)]
pub struct Update {
    /// The way.
    #[serde(default)]
    pub strategy: UpdateStrategy,
    /// Machines above the wanted number while updating: a number or a share of the pool.
    #[serde(default = "one")]
    pub max_surge: IntOrString,
    /// Machines that may be missing while updating: a number or a share of the pool.
    #[serde(default = "none")]
    pub max_unavailable: IntOrString,
    /// Seconds a machine of a changed template may take, once it runs, until its node is ready. After that the update
    /// stops, and machines that did not become healthy go back to what was healthy before.
    #[serde(default = "default_deadline_seconds")]
    #[schemars(range(min = 60, max = 86_400))]
    pub deadline_seconds: i32,
    /// Raise it to try again what was stopped.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub attempt: i32,
}

fn one() -> IntOrString {
    IntOrString::Int(1)
}

fn none() -> IntOrString {
    IntOrString::Int(0)
}

/// As long as cluster-autoscaler waits for a node (`--max-node-provision-time`).
fn default_deadline_seconds() -> i32 {
    900
}

impl Default for Update {
    fn default() -> Self {
        Self {
            strategy: UpdateStrategy::default(),
            max_surge: one(),
            max_unavailable: none(),
            deadline_seconds: default_deadline_seconds(),
            attempt: 0,
        }
    }
}

/// How machines are brought up to date.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum UpdateStrategy {
    /// New machines first, then old ones go.
    #[default]
    Surge,
    /// The same machine drains, changes and comes back; what needs another machine is replaced.
    InPlace,
    /// Machines stay as they are until somebody deletes them.
    OnDelete,
}

/// How pods leave a node.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drain {
    /// Seconds that PodDisruptionBudgets are respected for; 0 does not drain.
    #[serde(default = "default_drain_seconds")]
    #[schemars(range(min = 0, max = 86_400))]
    pub timeout_seconds: i32,
    /// What happens when pods are left then.
    #[serde(default)]
    pub on_timeout: OnDrainTimeout,
}

/// As long as cluster-autoscaler waits for pods to leave (`--max-graceful-termination-sec`).
fn default_drain_seconds() -> i32 {
    600
}

impl Default for Drain {
    fn default() -> Self {
        Self { timeout_seconds: default_drain_seconds(), on_timeout: OnDrainTimeout::default() }
    }
}

/// What happens when a drain took too long.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum OnDrainTimeout {
    /// The node goes, and what is left on it with it.
    #[default]
    Force,
    /// The node stays, and a condition says which pods hold it.
    Wait,
}

/// What happens to nodes that are not ready.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repair {
    /// How far the platform may go.
    #[serde(default)]
    pub policy: RepairPolicy,
    /// Seconds a node may be not ready before something is done.
    #[serde(default = "default_not_ready_seconds")]
    #[schemars(range(min = 30, max = 86_400))]
    pub not_ready_seconds: i32,
    /// Not ready nodes, as a number or a share of the pool, above which nothing is repaired: it is not the nodes then.
    #[serde(default = "default_max_unhealthy")]
    pub max_unhealthy: IntOrString,
    /// Repairs of a pool in any hour at most.
    #[serde(default = "default_per_hour")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_per_hour: i32,
    /// What happens to nodes that are ready and show signs of failing soon.
    #[serde(default)]
    pub failure_signs: OnFailureSigns,
}

fn default_not_ready_seconds() -> i32 {
    300
}

fn default_max_unhealthy() -> IntOrString {
    IntOrString::String("40%".to_owned())
}

fn default_per_hour() -> i32 {
    10
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            policy: RepairPolicy::default(),
            not_ready_seconds: default_not_ready_seconds(),
            max_unhealthy: default_max_unhealthy(),
            max_per_hour: default_per_hour(),
            failure_signs: OnFailureSigns::default(),
        }
    }
}

/// What happens to a node that is ready and shows signs of failing soon, like the conditions of upstream's
/// node-problem-detector, or that stops being ready again and again.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum OnFailureSigns {
    /// It is only said.
    #[default]
    Report,
    /// Its pods move away and another machine takes its place, if the policy is `Replace`.
    Evacuate,
}

/// How far repair may go.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum RepairPolicy {
    /// Nothing.
    Off,
    /// Reboot.
    Reboot,
    /// Reboot, and if that does not help, another machine.
    #[default]
    Replace,
}

/// What is known of a pool.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodePoolStatus {
    /// Conditions: Ready, Accepted, Progressing, Paused, RepairAllowed, NetworkPolicyEnforced.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Machines that should be there.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub desired: i32,
    /// Machines that are there.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub replicas: i32,
    /// Those whose node is ready.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub ready_replicas: i32,
    /// Those as the template says now.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub updated_replicas: i32,
    /// Label selector of the pool's machines, for the `scale` subresource.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub selector: Option<String>,
    /// Kubernetes version of new nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub version: Option<String>,
    /// Versions its nodes report, newest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["version".into()]))]
    pub versions: Vec<NodeVersionCount>,
    /// The same in one line, for tables.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub version_summary: Option<String>,
    /// The last template that all machines were healthy with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub healthy_template: Option<NodeTemplate>,
    /// An update that was stopped because its machines did not become healthy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<StoppedUpdate>,
    /// Repairs of the last hour, and those that are not done yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2000))]
    pub repairs: Vec<RepairOrder>,
}

/// How many nodes have a version.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeVersionCount {
    /// Version of the kubelet.
    #[schemars(length(max = 64))]
    pub version: String,
    /// Nodes that have it.
    #[schemars(range(min = 0))]
    pub count: i32,
}

/// An update that does not go on.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct StoppedUpdate {
    /// What machines should have become.
    pub template: NodeTemplate,
    /// `update.attempt` at that time: the same template is tried again when that is raised.
    #[schemars(range(min = 0))]
    pub attempt: i32,
    /// When it was stopped.
    pub at: Time,
    /// Machines that were not healthy then; they go back. At most so many are named; others that were never ready go too.
    #[schemars(length(max = 100), inner(length(max = 63)))]
    pub machines: Vec<String>,
}
