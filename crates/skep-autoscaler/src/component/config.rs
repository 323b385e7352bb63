//! What the component's controller is told.

use std::net::SocketAddr;

use kube::Client;
use skep_kubeops::{Metrics, Recorder};
use skep_node::Connect;

use crate::StockFile;

/// What this installation offers to clusters that ask for an autoscaler.
#[derive(Clone, Debug)]
pub struct Offer {
    /// Where the provider and the expander are served.
    pub listen: SocketAddr,
    /// How pods of the cell reach that: host and port.
    pub address: String,
    /// Image of cluster-autoscaler.
    pub image: String,
    /// Image of Skep, for the relay beside it.
    pub relay: String,
    /// What the hypervisors have left, if anybody writes that down.
    pub stock: Option<StockFile>,
}

/// What the controller needs to know beside the objects.
#[derive(Clone)]
pub struct Config {
    /// Client of the hub and of its cell.
    pub client: Client,
    /// Nothing is offered without one: clusters that ask are told so.
    pub offer: Option<Offer>,
    /// URL of the gateway as pods of the cell reach it.
    pub gateway: String,
    /// How tenants' API servers are reached.
    pub connect: Connect,
    /// Where reconciles and calls are counted.
    pub metrics: Metrics,
    /// Where events go.
    pub recorder: Recorder,
}

/// An offer with this image, for tests.
#[cfg(test)]
pub(super) fn offer(image: &str) -> Offer {
    Offer {
        listen: ([127, 0, 0, 1], 8086).into(),
        address: "127.0.0.1:8086".into(),
        image: image.into(),
        relay: "skep.dev/skep:1".into(),
        stock: None,
    }
}
