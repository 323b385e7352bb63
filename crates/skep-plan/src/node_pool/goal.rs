//! What a pool should be, and what its machines are.

use k8s_openapi::jiff::Timestamp;
use skep_api::node_pool::UpdateStrategy;
use skep_api::{KubeVersion, NodeTemplate};

use super::Share;

/// What a pool should be: a spec that was checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Goal {
    /// Machines that should be there.
    pub replicas: usize,
    /// Zones new machines are spread over. Never empty.
    pub zones: Vec<String>,
    /// The spec names these zones: a machine elsewhere is replaced. Otherwise they are the class's, which the platform
    /// may change without moving anything.
    pub zones_are_asked_for: bool,
    /// What new nodes are like; the version is always set.
    pub template: NodeTemplate,
    /// Version of new nodes.
    pub version: KubeVersion,
    /// How changes reach machines.
    pub strategy: UpdateStrategy,
    /// Machines that go because they are named; `replicas` does not count them.
    pub remove: Vec<String>,
    /// Machines above `replicas` while updating.
    pub surge: Share,
    /// Machines that may be missing while updating.
    pub unavailable: Share,
}

/// How a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// It cannot be made.
    Failed,
    /// Its node is not ready, or not yet.
    NotReady,
    /// Its node is ready.
    Ready,
}

/// A machine of the pool, as far as decisions go.
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// Its name.
    pub name: String,
    /// Zone it stands in.
    pub zone: String,
    /// What it should be like, as its own spec says.
    pub template: NodeTemplate,
    /// When it was made.
    pub created: Timestamp,
    /// How it is.
    pub health: Health,
    /// It is being deleted.
    pub leaving: bool,
    /// It is being changed in place: what runs is not yet as its spec says.
    pub changing: bool,
}

impl Member {
    /// Whether it serves as the goal counts it.
    pub(super) fn serves(&self) -> bool {
        self.health == Health::Ready && !self.changing
    }
}
