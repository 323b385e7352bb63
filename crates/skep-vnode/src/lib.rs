//! Skep's own kubelet: a node agent that runs pods without root and without containers.
//!
//! Two halves that meet in [`backend`]: the node half talks to the API server, a backend runs pods on the machine.
//! [`process`] is the backend that runs them as host processes; its lower layer (spawn, wait, adopt, stop) is usable
//! on its own and supervises the hub's own components too.

pub mod backend;
pub mod config;
pub mod events;
pub mod hollow;
pub mod host;
pub mod node;
pub mod pods;
pub mod process;
pub mod provisioner;
pub mod quantity;
pub mod server;
pub mod stream;
