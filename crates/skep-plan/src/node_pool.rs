//! Node pools: what is asked for, what is there, and the next steps from one to the other.
//!
//! * [`resolve()`] checks a pool against the catalogue and its cluster and gives a [`Goal`], or refusals that say what
//!   would be accepted; [`resolve_machine`] does the same for one machine;
//! * [`differences`] says what of a machine is not as the goal has it, and whether it takes another machine;
//! * [`plan()`] says which machines are made, deleted and changed now, why, and what the rest waits for.
//! * [`trial()`] says whether a changed template is healthy, still being tried, or has failed; [`steer`] turns a pool whose
//!   template has failed back to the one before.
//!
//! What replaces a machine is only what the pool's own spec says: its class by name, its zones, its template. What the
//! platform changes inside a class reaches new machines only.

mod choose;
mod difference;
mod goal;
mod plan;
mod refusal;
mod render;
mod resolve;
mod share;
mod template;
mod trial;

pub use difference::{Difference, Needs, differences};
pub use goal::{Goal, Health, Member, Tried};
pub use plan::{Action, Outdated, Plan, Why, plan};
pub use refusal::{Refusal, Refused};
pub use resolve::{ClusterState, Facts, Node, Unresolved, Versions, replicas, resolve, resolve_machine};
pub use share::Share;
pub use trial::{Course, Trial, steer, trial};

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;
