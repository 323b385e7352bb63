//! The way to pods of other nodes.
//!
//! Guarantees: for every Node with a range of pods inside the cluster's and an address, this node has a route; routes of
//! nodes that are gone go. Only routes with our protocol number, and entries of our own device, are touched. The
//! configuration of the node's own pods is written as soon as its Node has a range.
//!
//! Refuses: ranges outside of the cluster's, whoever claims them.

mod actual;
mod apply;
mod desired;
mod diff;
mod entry;
mod follow;
mod view;
mod vxlan;

pub(crate) use apply::forget;
pub(crate) use follow::follow;
pub(crate) use view::NodeView;

#[cfg(test)]
mod tests;
