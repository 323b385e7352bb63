//! Local machines on this host: real namespaces, cables and cgroups; only the agent is a script.
//!
//! Needs root and the programs of `Local::check`; says so and does nothing without. Tests run side by side: each has an
//! installation and a network of its own, and looks only at what carries their names.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "helpers of tests, not only the tests themselves"
)]

mod adoption;
mod apart;
mod faults;
mod harness;
mod leftovers;
mod life;
mod network;
mod refusals;
mod zones;
