//! The objects of `skep.dev/v1alpha1`: kinds, conditions, labels, versions. No I/O.
//!
//! Every bound in these types (lengths, ranges, patterns, closed enums) becomes part of the CRD schema, so that the
//! API server refuses bad input with a message that says what is allowed. Rules that need two fields are CEL rules on
//! the type. The generated CRDs are checked in under `deploy/crds/`.

// The lint takes the arguments of kube's derive (several `printcolumn`s) for attributes that are given twice.
#![allow(clippy::duplicated_attributes)]

pub mod cluster;
pub mod codes;
pub mod condition;
pub mod control_plane;
pub mod crds;
pub mod datastore;
pub mod labels;
pub mod machine;
pub mod machine_class;
pub mod node_pool;
pub mod node_repair;
pub mod profile;
pub mod release;
pub mod resources;
pub mod size_class;
pub mod tenant;
pub mod version;

pub use cluster::{Cluster, ClusterSpec, ClusterStatus, ComponentMode, Components};
pub use codes::Code;
pub use condition::{ConditionStatus, ConditionType};
pub use control_plane::{ControlPlane, ControlPlaneSpec, ControlPlaneStatus};
pub use crds::crds;
pub use datastore::{Datastore, DatastoreSpec, DatastoreStatus};
pub use machine::{Machine, MachineSpec, MachineStatus, NodeTemplate};
pub use machine_class::{MachineClass, MachineClassSpec, Provider};
pub use node_pool::{NodePool, NodePoolSpec, NodePoolStatus};
pub use node_repair::{FailureSign, RepairAction, RepairCause, RepairOrder, RepairRecord};
pub use profile::{ClusterProfile, ClusterProfileSpec};
pub use release::{Release, ReleaseSpec};
pub use size_class::{SizeClass, SizeClassSpec};
pub use tenant::TenantId;
pub use version::KubeVersion;

/// API group of every kind.
pub const GROUP: &str = "skep.dev";
/// The one served version.
pub const VERSION: &str = "v1alpha1";
/// Namespace of a cell that holds what belongs to no tenant: datastores, leases.
pub const SYSTEM_NAMESPACE: &str = "skep-system";
/// Name of the shared datastore that an installation starts with.
pub const DEFAULT_DATASTORE: &str = "main";
/// Domain under which tenants are named when the operator sets none.
pub const DEFAULT_DOMAIN: &str = "skep.internal";
