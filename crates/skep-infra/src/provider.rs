//! The seam between the operator and an infrastructure.

use std::net::Ipv4Addr;

use async_trait::async_trait;
use skep_agent::config::Join;
use skep_api::{KubeVersion, MachineClassSpec};

use crate::Result;

/// A machine that is wanted.
#[derive(Clone, Debug)]
pub struct Order {
    /// UID of the `Machine` object: what the machine is found by for ever.
    pub uid: String,
    /// Name of the `Machine`, which is the node's.
    pub name: String,
    /// Namespace of the `Machine` and of its `Cluster` in the hub.
    pub namespace: String,
    /// Name of its `Cluster`.
    pub cluster: String,
    /// Zone it must stand in.
    pub zone: String,
    /// Its class.
    pub class: MachineClassSpec,
    /// Version of the node's programs.
    pub version: KubeVersion,
    /// How its node joins.
    pub join: Join,
}

/// A machine as the infrastructure knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Machine {
    /// `spec.providerID` of its node.
    pub provider_id: String,
    /// Its address in the nodes' network.
    pub address: Option<Ipv4Addr>,
    /// How it is.
    pub state: State,
}

/// How a machine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// A person has to bring it; what they have to do.
    Awaited(String),
    /// Being made or started; what it waits for.
    Starting(String),
    /// It runs.
    Running,
    /// It is there and does not run.
    Stopped,
}

/// How far a deletion is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing is left.
    Gone,
    /// Under way; ask again.
    Pending,
}

/// An infrastructure that has machines. Every call may be repeated.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Makes the machine, or goes on making it, and says how it is. A machine of this uid that is there is never made twice.
    async fn ensure(&self, order: &Order) -> Result<Machine>;

    /// The machine of this uid, if there is one.
    async fn get(&self, uid: &str) -> Result<Option<Machine>>;

    /// Waits for a machine that ends, and gives its uid: also one that was told to. Each end is told to one caller, and only
    /// of machines that were asked for since this provider is there. An infrastructure that has no way to call never does.
    async fn ended(&self) -> String {
        std::future::pending().await
    }

    /// Removes it with everything that belongs to it.
    async fn delete(&self, uid: &str) -> Result<Deleted>;

    /// Starts it anew, as with a reset button.
    async fn reboot(&self, uid: &str) -> Result<()>;

    /// The end of what it wrote to its console, at most 64 KiB.
    async fn console(&self, uid: &str) -> Result<String>;
}
