//! Pods of one node: from the API server's wish to the backend's work and back to a status.
//!
//! ```text
//! watch ──► agent ──► decision (pure) ──► backend
//!             ▲                              │
//!             └── status (pure) ◄── events ──┘
//!             │
//!             └──► tasks: status patch, final delete
//! ```

pub mod address;
pub mod admission;
pub mod agent;
pub mod decision;
pub mod objects;
pub mod references;
pub mod requests;
pub mod selector;
pub mod sources;
pub mod status;
pub mod strip;
pub mod table;
pub mod watch;
