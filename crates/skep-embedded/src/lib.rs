//! `skep up`: a whole installation on one machine, without root and without containers.
//!
//! A *supervisor* per data directory starts etcd, kube-apiserver, kube-controller-manager and kube-scheduler as child
//! processes (the hub, and the first cell at once), then runs operator, gateway and virtual nodes inside itself.
//!
//! Guarantees: one supervisor per data directory (a kernel lock); everything it started is written down before it
//! is used, so that a later start adopts or stops it whatever was killed in between; starts and stops are in order and
//! driven by events; nothing listens beyond loopback unless asked; all state is in the data directory.
//! Refuses: directories of other users, of other formats or with foreign files; ports and networks of others.

pub mod attach;
pub mod board;
mod bootstrap;
pub mod catalogue;
pub mod cell;
mod child;
pub mod control;
pub mod disk;
mod error;
pub mod files;
mod halt;
pub mod hub;
mod layout;
pub mod listeners;
pub mod lock;
pub mod logs;
pub mod network;
mod node_proxy;
mod options;
pub mod part;
pub mod pki;
pub mod ports;
mod roles;
pub mod state;
mod supervisor;

pub use error::{Error, Result};
pub use layout::Layout;
pub use options::Options;
pub use supervisor::run;
