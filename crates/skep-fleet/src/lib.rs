//! Hub: what tenant teams ask for becomes what cells run.
//!
//! One controller: `Cluster` → the tenant's namespace and its `ControlPlane`, and the way back: status and kubeconfig.
//! Guarantees: what runs stays as it is while its spec cannot be fulfilled; a deleted cluster keeps its finalizer until
//! its control plane, its data and its namespace are gone.

pub mod cluster;

pub use cluster::{Config, run};
