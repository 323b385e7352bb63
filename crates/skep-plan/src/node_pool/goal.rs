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
    /// A template that was tried and stopped: `template` is the one before it then.
    pub tried: Option<Tried>,
}

/// A template that was tried, and whose update was stopped.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    /// It.
    pub template: NodeTemplate,
    /// Machines that were not healthy with it: they go back. So do those that never were.
    pub back: Vec<String>,
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
    /// Its node has not been ready since the machine was made or changed.
    pub untried: bool,
    /// Since when its node has not been ready, or it cannot be made.
    pub unready: Option<Timestamp>,
}

impl Goal {
    /// What this member should be like: one that is healthy with what was tried stays so.
    pub(super) fn template_of(&self, member: &Member) -> &NodeTemplate {
        let keeps = |tried: &&Tried| {
            let stays = !member.untried && !tried.back.contains(&member.name);
            stays && is_as(&member.template, &tried.template)
        };
        self.tried.as_ref().filter(keeps).map_or(&self.template, |tried| &tried.template)
    }
}

/// Whether a machine of template `old` is as `new` says. One that names no version has none to be behind with.
pub(super) fn is_as(old: &NodeTemplate, new: &NodeTemplate) -> bool {
    match old.version {
        Some(_) => old == new,
        None => NodeTemplate { version: None, ..new.clone() } == *old,
    }
}

impl Member {
    /// Whether it serves as the goal counts it.
    pub(super) fn serves(&self) -> bool {
        self.health == Health::Ready && !self.changing
    }
}
