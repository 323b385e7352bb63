//! What a backend reports about a pod.
//!
//! Containers are reported in the API's own types so that nothing is translated twice. The node half adds what is not
//! the backend's: phase, conditions, addresses, QoS class.

use k8s_openapi::api::core::v1::ContainerStatus;

/// Where a pod is in its life on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum PodLifecycle {
    /// Volumes are being made ready; no container has been started yet.
    #[default]
    Preparing,
    /// Containers have been started. Stays like this when they have all ended by themselves.
    Running,
    /// Somebody asked to stop it.
    Stopping,
    /// Stopped on request: no process of it is left.
    Stopped,
}

/// Why the backend itself ended a pod. The node half makes it phase `Failed`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Eviction {
    /// `status.reason`, like `Evicted`.
    pub reason: &'static str,
    /// `status.message`.
    pub message: String,
}

/// How far a change of resources in place is.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum ResizeState {
    /// Containers have what the spec says.
    #[default]
    Done,
    /// Being applied; condition `PodResizeInProgress`.
    InProgress,
    /// The machine refused it; the condition's message.
    Failed(String),
}

/// Whether limits are more than numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResourceEnforcement {
    /// Containers are in cgroups: limits hold.
    Enforced,
    /// No cgroup could be had: requests and limits count for scheduling and are reported back, nothing holds them.
    Accounted,
}

/// Snapshot of a pod.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct PodRuntimeStatus {
    /// `metadata.generation` this snapshot is about.
    pub observed_generation: Option<i64>,
    /// Where in its life.
    pub lifecycle: PodLifecycle,
    /// Whether the volumes are ready (condition `PodReadyToStartContainers`).
    pub volumes_ready: bool,
    /// Init containers, in the order of the spec.
    pub init_container_statuses: Vec<ContainerStatus>,
    /// Containers, in the order of the spec.
    pub container_statuses: Vec<ContainerStatus>,
    /// Set when the backend ended the pod by itself.
    pub eviction: Option<Eviction>,
    /// Change of resources in place.
    pub resize: ResizeState,
}
