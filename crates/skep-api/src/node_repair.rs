//! What repair keeps in the status of pools and machines.
//!
//! The pool's controller decides and writes an order into the pool's status; from then on it counts. The machine's
//! controller carries the order out and writes that into the machine's status. Each status has one writer.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A repair that was decided.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairOrder {
    /// The machine.
    #[schemars(length(min = 1, max = 63))]
    pub machine: String,
    /// What is done.
    pub action: RepairAction,
    /// Why.
    pub because: RepairCause,
    /// When it was decided. With the machine's name this is the order's identity.
    pub at: Time,
}

/// What repair does with a machine.
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
pub enum RepairAction {
    /// It is started anew, as with a reset button.
    Reboot,
    /// Another machine takes its place.
    Replace,
    /// Its pods move away while it still works, then another machine takes its place.
    Evacuate,
}

/// Why repair acts.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Hash, JsonSchema, strum::Display)]
pub enum RepairCause {
    /// Its node was ready and is not.
    NotReady,
    /// Its node has not joined.
    NeverJoined,
    /// A condition of its node says that it will fail.
    FailureSign,
    /// Its node stops being ready again and again.
    Flapping,
}

/// What repair did with a machine.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RepairRecord {
    /// Reboots since the node was last ready for long.
    #[schemars(range(min = 0, max = 1000))]
    pub reboots: i32,
    /// When the last order that was carried out, or was not necessary any more, had been decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Time>,
    /// When that was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done: Option<Time>,
}

/// A condition of a node that says that it will fail.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct FailureSign {
    /// Type of the condition, like `ReadonlyFilesystem`.
    #[serde(rename = "type")]
    #[schemars(length(min = 1, max = 64))]
    pub type_: String,
    /// What it says.
    #[serde(default)]
    #[schemars(length(max = 256))]
    pub message: String,
    /// Since when it was seen.
    pub since: Time,
}
