//! Repair of nodes: which machine of a pool is rebooted, replaced or evacuated now, and why all others are not.
//!
//! * A node that is not ready for longer than the pool allows is rebooted, once; if it is not ready for as long again, its
//!   machine is replaced, if the policy says so. One that has never joined is treated alike, with more patience.
//! * A node that is ready and shows signs of failing soon is evacuated, one at a time, if the pool wants that.
//! * Nothing is done to anything while it is not the nodes that are to blame: nobody could look for long enough, too many
//!   are unhealthy at once, or most of a zone is. And never more than so often in any hour.
//!
//! An order counts from the moment it is decided, whether it was carried out or not, so that no crash makes it two.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use skep_api::node_pool::{OnFailureSigns, RepairPolicy};
use skep_api::{RepairAction, RepairCause};

use crate::node_pool::Share;

mod brake;
mod decide;
mod judge;
mod message;
mod signs;

pub use brake::Brake;
pub use decide::{Decision, decide};
pub use signs::{FLAPS, is_failure_sign};

/// The window of `maxPerHour`, of flapping, and the time a node has to be ready for so that its reboots are forgotten.
pub const HOUR: Duration = Duration::from_secs(3600);
/// How long a machine that runs may take until its node has joined: as long as cluster-autoscaler waits for one
/// (`--max-node-provision-time`).
pub const JOIN: Duration = Duration::from_secs(900);

/// What a pool allows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rules {
    /// How far repair may go.
    pub policy: RepairPolicy,
    /// How long a node may be not ready.
    pub not_ready: Duration,
    /// Unhealthy nodes above which nothing is done.
    pub max_unhealthy: Share,
    /// Orders in any hour.
    pub per_hour: usize,
    /// What becomes of nodes that show signs of failing.
    pub signs: OnFailureSigns,
    /// How long pods may take to leave: an order that is not carried out after that is stuck.
    pub drain: Duration,
}

/// Whether anybody could look at the nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// Nobody can look now; why.
    Blind(String),
    /// Their states are known without a gap since then.
    Since(Timestamp),
}

/// Zones in which it was lately not the nodes that were to blame. Those that are still away when a zone comes back are given
/// as much time as any other node, from then on. It need not outlive the process: a new one has to look for that long anyway.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Calm {
    /// By zone: since when the zone is well again; `None` while it is not.
    zones: BTreeMap<String, Option<Timestamp>>,
}

/// A machine of the pool, as repair sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Patient {
    /// Its name.
    pub name: String,
    /// Zone it stands in.
    pub zone: String,
    /// A person has taken it out.
    pub exempt: bool,
    /// How it is.
    pub state: State,
    /// When its node stopped being ready, lately.
    pub stops: Vec<Timestamp>,
    /// Signs that it will fail: what is said, and since when.
    pub signs: Vec<(String, Timestamp)>,
    /// Reboots since it was last ready for long.
    pub reboots: usize,
    /// The last order that was carried out or was not necessary any more: when it was decided, and when that was.
    pub last: Option<(Timestamp, Timestamp)>,
}

/// How a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its node is ready.
    Ready,
    /// Its node was ready and is not, since then.
    NotReady(Timestamp),
    /// It runs, and its node has not been ready yet, since then.
    Joining(Timestamp),
    /// It is being made or changed, or is a new version's first try: others look after it.
    Busy,
    /// It is on its way out.
    Leaving,
}

/// An order that was given before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Past {
    /// The machine.
    pub machine: String,
    /// What was to be done.
    pub action: RepairAction,
    /// When it was decided.
    pub at: Timestamp,
}

/// Something to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// The machine.
    pub machine: String,
    /// What is done.
    pub action: RepairAction,
    /// Why.
    pub because: RepairCause,
}

/// Whether a machine's reboots are forgotten, because it has been ready for long.
pub fn is_forgotten(ready_since: Timestamp, now: Timestamp) -> bool {
    since(ready_since, now) >= HOUR
}

/// Time from then to now; none when it has not come yet.
fn since(then: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(then)).unwrap_or_default()
}

/// A moment this long after another.
fn after(then: Timestamp, pause: Duration) -> Timestamp {
    then.checked_add(pause).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
