//! Node pools and machines: from `NodePool` and `Machine` to nodes of a tenant cluster, and back to nothing.
//!
//! Two controllers: `NodePool` makes, changes and deletes `Machine`s as `skep_plan::node_pool` decides; `Machine` orders a
//! machine from its infrastructure, lets its node join and looks after it until it has left. Repair is theirs together: the
//! pool decides (`skep_plan::repair`) and counts, the machine acts.
//!
//! Guarantees: a machine is ordered only after its object says so, and its object goes only when nothing of it is left,
//! neither machine nor node nor token; a pool that was cut off anywhere never makes a machine twice; pods leave before
//! their node does, within the pool's rules; nobody joins but by a token of that very machine; repair acts only on what was seen for long enough, once for
//! each order, and keeps what was known of a node before.
//!
//! Refuses: to replace what a tenant has because the platform changed something of its own, to take anything but
//! certificates from where tenants may write, and to sign what a machine has no right to.

mod approver;
mod bootstrap;
mod caches;
mod components;
mod config;
mod error;
pub mod hollow;
pub mod machine;
pub mod pool;
mod repair;
mod run;
pub mod tenants;
mod watched;

pub use caches::Caches;
pub use config::{Clock, Config, Infrastructure, Infrastructures, NodeCredentials};
pub use error::{Error, OUT_OF_STOCK};
pub use machine::MachineReconciler;
pub use pool::NodePoolReconciler;
pub use repair::Figures;
pub use run::run;
pub use tenants::{Connect, Credentials, Tenants, connect};
pub use watched::Watched;

/// Field manager, controller name and event reporter.
const NAME: &str = "skep-node";
