//! The agents of one tenant, and which of them is asked.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::agent::Agent;

/// The connected agents of a tenant.
#[derive(Debug, Default)]
pub(super) struct Agents {
    all: Mutex<Vec<Arc<Agent>>>,
    joined: Notify,
    next: AtomicU64,
    /// Where the search for the least busy one begins, so that equals take turns.
    turn: AtomicUsize,
}

impl Agents {
    /// Adds an agent. An address that an agent of another node has stays that one's: a node that was taken over cannot
    /// draw the connections of others to itself while they are there.
    pub(super) fn join(&self, mut agent: Agent) -> Arc<Agent> {
        agent.id = self.next.fetch_add(1, Ordering::Relaxed);
        let mut all = self.lock();
        let taken = |address: &IpAddr| {
            all.iter().any(|other| other.node != agent.node && other.addresses.contains(address))
        };
        let (foreign, own): (Vec<_>, Vec<_>) = agent.addresses.iter().copied().partition(taken);
        if !foreign.is_empty() {
            tracing::warn!(node = agent.node, ?foreign, "an agent claims addresses of another node");
        }
        agent.addresses = own;
        let agent = Arc::new(agent);
        all.push(Arc::clone(&agent));
        drop(all);
        self.joined.notify_waiters();
        agent
    }

    /// Removes an agent.
    pub(super) fn leave(&self, agent: &Agent) {
        self.lock().retain(|other| other.id != agent.id);
    }

    /// Waits for the first one, at most until then.
    pub(super) async fn some(&self, until: Instant) {
        let joined = self.joined.notified();
        if self.len() == 0 {
            let _ = timeout_at(until, joined).await;
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    /// At most `most` agents for a target at this address, the best first: the node's own (the newest connection, should
    /// there be two), then those with the fewest streams. One that did not answer a short time ago comes last.
    pub(super) fn candidates(&self, address: Option<IpAddr>, most: usize) -> Vec<Arc<Agent>> {
        let mut all = self.lock().clone();
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % all.len().max(1);
        all.rotate_left(start);
        let own = |agent: &Agent| address.is_some_and(|address| agent.addresses.contains(&address));
        all.sort_by_cached_key(|agent| match own(agent) {
            true => (agent.is_suspect(), false, 0, u64::MAX - agent.id),
            false => (agent.is_suspect(), true, agent.streams.used(), 0),
        });
        all.truncate(most);
        all
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Agent>>> {
        // Nothing in a critical section can panic half way.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
