//! The status of a pod, computed from its spec and from what the backend reports. Pure.
//!
//! The rules are upstream's (`pkg/kubelet/kubelet_pods.go`, `pkg/kubelet/status/generate.go`), because controllers all
//! over Kubernetes depend on their details: when a pod is `Pending`, what `Ready` means with readiness gates, that a
//! terminal phase is never left.

mod build;
mod conditions;
mod patch;
mod phase;
mod restart;

pub use build::{Failure, ResizePending, StatusInput, build};
pub use conditions::owned as owned_condition;
pub use patch::patch;
pub use phase::{Phase, is_terminal};
pub use restart::is_sidecar;
