//! Decisions as pure functions: no I/O, no clock of its own, no randomness.
//!
//! Everything the operator decides about a tenant cluster is decided here, so that it can be printed before it happens
//! (`skep plan`) and tested without a cluster:
//!
//! * [`resolve()`]: what a `Cluster` asks for, plus the catalogue and the cell, becomes a complete `ControlPlaneSpec`,
//!   or a list of refusals that say what would be accepted;
//! * [`diff()`]: two such specs become a [`Plan`]: what changes, which program restarts or rolls, and why;
//! * [`rollout`]: which of a control plane's programs may be brought to their goal now, and what the others wait for;
//! * [`node_pool`]: what a `NodePool` asks for, checked; which machines are made, deleted or changed next, and why;
//! * [`repair`]: which machine is rebooted, replaced or evacuated, and what stops that;
//! * [`address`]: addresses of pods, known before the pods start;
//! * [`expander`]: which of several ways to make room for pods is taken, and why not the others;
//! * [`egress`]: the way of an API server into its own cluster;
//! * [`pod`]: what the pods of control planes and of datastores have in common.

pub mod address;
pub mod catalogue;
pub mod cell;
pub mod datastore;
pub mod diff;
pub mod egress;
pub mod expander;
pub mod flags;
pub mod network;
pub mod node_pool;
pub mod pod;
pub mod refusal;
pub mod refused;
pub mod repair;
pub mod resolve;
pub mod rollout;
pub mod skew;

#[cfg(test)]
mod fixtures;

pub use catalogue::Catalogue;
pub use cell::Cell;
pub use diff::{Plan, diff};
pub use refusal::{Refusal, Refused};
pub use resolve::{Running, resolve};
