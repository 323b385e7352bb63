//! What a pass learned: the status is made of it, whether the pass ended well or not.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use skep_api::NodeTemplate;
use skep_plan::node_pool::Refused;

use crate::tenants::Node;

/// What a pass learned about a machine.
#[derive(Default)]
pub(super) struct Seen {
    /// Whether its spec can be fulfilled.
    pub(super) accepted: Accepted,
    /// Why nothing can be ordered yet.
    pub(super) waits: Option<String>,
    /// It was ordered anew in this pass, as this.
    pub(super) begun: Option<NodeTemplate>,
    /// What it was made as is gone, and nothing was ordered since.
    pub(super) vacated: bool,
    /// The machine as its infrastructure has it.
    pub(super) machine: Option<skep_infra::Machine>,
    /// Its node.
    pub(super) node: Sight,
    /// Why the address that its node reports is not believed.
    pub(super) unbelieved: Option<String>,
    /// The node is there, and what it joined with is taken back. Until then it has not joined, as far as the status says:
    /// else nobody would take it back after a failure.
    pub(super) joined: bool,
    /// Pods have left, or need not: the machine itself goes.
    pub(super) removing: bool,
    /// Its pods are asked to leave: reason and sentence.
    pub(super) draining: Option<(&'static str, String)>,
    /// An order of repair that was carried out, or is not necessary any more.
    pub(super) repaired: Option<Repaired>,
}

/// What became of an order of repair.
pub(super) struct Repaired {
    /// When it had been decided.
    pub(super) order: Time,
    /// The machine was started anew.
    pub(super) rebooted: bool,
}

/// Whether a spec can be fulfilled.
#[derive(Default)]
pub(super) enum Accepted {
    /// It can.
    #[default]
    Yes,
    /// It cannot.
    Refused(Refused),
    /// Its infrastructure is not at hand; the sentence says why.
    NoInfrastructure(String),
    /// Not known yet; the sentence says what has to be there.
    Waits(String),
}

/// What is seen of a machine's node.
#[derive(Default)]
pub(super) enum Sight {
    /// Nobody could look.
    #[default]
    Unseen,
    /// There is none of this name.
    Absent,
    /// It.
    There(Arc<Node>),
    /// A node of this name that is not on this machine; what it says it is on.
    Foreign(String),
}
