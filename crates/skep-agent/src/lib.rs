//! The node agent: what runs on a machine to make a node of it.
//!
//! Guarantees: containerd, kubelet and kube-proxy run with the settings of their pool and are started again when they end
//! or no longer answer; the API server is reachable on the machine under the address that the cluster advertises; pods of
//! other nodes are reachable as long as their Node object says where; what it writes lies below one directory.
//!
//! Refuses: a machine without root or without a needed program or kernel feature, by name, before it changes anything.
//!
//! Two kinds of machine. As the first process of a pid namespace the agent has namespaces of its own, which its
//! infrastructure has made: nothing of the node runs when it starts, and everything ends with it. As an ordinary service
//! it shares the machine: pods go on when it ends, and the next agent takes over from what it finds.
//!
//! ```text
//!   preflight ── prepare ──► containerd ── ready ──► kubelet ── certificate ──► kube-proxy, routes and CNI
//!   (looks only) (files, mounts, cgroups, addresses)      API endpoint: pods ──► 198.18.0.1:6443 ──► gateway
//! ```
//!
//! The kubelet sets a few sysctls of the machine that are not bound to a namespace (`vm.overcommit_memory`,
//! `kernel.panic` …), as it does everywhere.

mod build;
mod children;
pub mod config;
mod endpoint;
mod error;
mod events;
mod facts;
mod files;
mod identity;
pub mod invitation;
mod layout;
pub mod logs;
pub mod mounts;
mod node;
pub mod notify;
mod preflight;
mod prepare;
mod programs;
pub mod quantity;
mod removal;
mod routes;
mod run;
mod service;
pub mod tunnel;
mod welcome;

pub use error::{Error, Result};
pub use removal::invited_again;
pub use run::run;
pub use welcome::welcome;
