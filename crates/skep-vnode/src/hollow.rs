//! Hollow nodes: nodes and pods that only exist in the API, for tests of scale.
//!
//! ```text
//! watch of all pods ──► fleet ──► life (pure, virtual time) ──► report (pure) ──► status patch
//! nodes that should be ─┘  └──► node (pure) ──► registration, lease, status
//! ```
//!
//! One [`Fleet`] plays all hollow nodes of a cluster in one task: one watch of pods that keeps only the fields it needs, one
//! timer wheel, one client, a bounded number of calls at once. What a pod does and when follows from the configuration and
//! its seed alone ([`Config`]), so a run can be repeated.
//!
//! Guarantees: what the API sees is what a kubelet would have written (phases, conditions, restarts, back-off, graceful
//! deletion, readiness gates), by the same code as the other backends; every node says in its labels, conditions, versions
//! and address that it is hollow; a node that somebody else has under the same name is left alone.
//!
//! Refuses: to pretend beyond the API. There are no processes, logs, volumes or traffic, and no admission by resources:
//! whatever was scheduled runs.

mod address;
mod config;
mod dice;
mod fate;
mod fleet;
mod life;
mod node;
mod report;
mod seen;
mod spec;

pub use config::{Config, ConfigError, Dark, ExitCode, Failures, Spread, Timings};
pub use fleet::{Figures, Fleet, FleetConfig};
pub use life::Millis;
pub use node::{HOLLOW, NodeSpec, Taint};
