//! `MachineClass`: what a machine of an infrastructure looks like before it exists.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::{DNS_LABEL, QUANTITY};

/// A kind of machine that pools can be made of.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "MachineClass",
    plural = "machineclasses",
    shortname = "mcl",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Provider", type_ = "string", json_path = ".spec.provider"),
    printcolumn(name = "CPU", type_ = "string", json_path = ".spec.capacity.cpu"),
    printcolumn(name = "Memory", type_ = "string", json_path = ".spec.capacity.memory"),
    printcolumn(name = "Pods", type_ = "integer", json_path = ".spec.capacity.pods"),
    printcolumn(name = "Zones", type_ = "string", json_path = ".spec.zones"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "A kind of machine that node pools can be made of."
)]
#[x_kube(
    validation = Rule::new("self.provider == oldSelf.provider")
        .message("provider cannot change: make another class and move the pools to it")
)]
#[serde(rename_all = "camelCase")]
pub struct MachineClassSpec {
    /// The infrastructure that makes machines of this class.
    pub provider: Provider,
    /// What one machine offers.
    pub capacity: MachineCapacity,
    /// Zones in which it can be had.
    #[schemars(length(min = 1, max = 16), inner(length(min = 1, max = 63), pattern(DNS_LABEL)))]
    pub zones: Vec<String>,
    /// Price of one machine and hour in any one currency, like `0.12`: what expansion options are compared by last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern(r"^[0-9]+(\.[0-9]+)?$"))]
    pub hourly_price: Option<String>,
}

/// Where machines come from.
#[derive(
    Serialize,
    Deserialize,
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    JsonSchema,
    strum::Display,
)]
pub enum Provider {
    /// Real nodes on the machine the operator runs on, each in namespaces of its own. Needs root.
    Local,
    /// Machines that people bring: each waits for `skep node join`.
    Static,
    /// Nodes that exist in the API only, for tests of scale. Marked as such wherever they show.
    Hollow,
}

/// What one machine offers to pods and to its own programs.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct MachineCapacity {
    /// Processors, like `4` or `500m`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub cpu: String,
    /// Memory, like `8Gi`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub memory: String,
    /// Disk for images, logs and emptyDir volumes, like `20Gi`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub ephemeral_storage: String,
    /// Pods at most; kubelet's default.
    #[serde(default = "default_pods")]
    #[schemars(range(min = 1, max = 1000))]
    pub pods: i32,
}

/// `maxPods` of a kubelet that sets none.
fn default_pods() -> i32 {
    110
}
