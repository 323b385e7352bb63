//! Why the nodes of a process cannot run.

use skep_plan::address::AddressError;

use crate::backend::BackendError;

/// Ends [`Host::run`](super::Host::run).
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// The pod network has no place for the node.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The endpoint's address is not to be had.
    #[error(
        "SKEP-7001: node {node} cannot listen on {address}: {source}. Is another instance running on this machine?"
    )]
    Listen {
        /// The node.
        node: String,
        /// Where.
        address: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// Nobody knows what an earlier run left; nothing is started so that nothing runs twice.
    #[error("SKEP-7005: node {node} cannot read what an earlier run of it left: {source}")]
    Recovery {
        /// The node.
        node: String,
        /// What went wrong.
        #[source]
        source: BackendError,
    },
    /// A node's agent ended although nobody asked it to.
    #[error("a node stopped working{}", .0.as_ref().map(|why| format!(": {why}")).unwrap_or_default())]
    Ended(Option<String>),
}
