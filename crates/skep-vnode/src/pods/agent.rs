//! The agent of one node: the only place that decides what happens with the node's pods.
//!
//! One loop owns all state, so there are no locks between decisions. Calls to the API server run beside it, at most one
//! per pod and a bounded number in all; what happens to a pod meanwhile is looked at when its call is done. Every pass
//! over a pod starts from facts (API object, backend status), never from the event that caused it, so events may be
//! lost, doubled or joined.
//!
//! Idle pods cost memory only: no timer, no task.

mod advance;
mod entry;
mod resize;
mod start;
mod tasks;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::Client;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Expired;

use super::address::Addresses;
use super::admission::Offer;
use super::references::ReferenceIndex;
use super::sources::{ApiSources, NodeSources};
use super::strip;
use super::table::PodTable;
use super::watch::Change;
use crate::backend::{BackendError, PodBackend, PodUid};
use crate::events::Recorder;
use entry::Entry;
use tasks::{Done, Finished};

/// Status patches and final deletions at once, for all nodes of a process. Every call that waits for another's answer
/// holds a connection of its own, and connections are the largest thing a node keeps in memory.
pub const CONCURRENT_CALLS: usize = 8;

/// What an agent works with.
pub struct AgentConfig {
    /// Name of the node.
    pub name: Arc<str>,
    /// Its index in the pod network.
    pub index: u8,
    /// Its address.
    pub address: Ipv4Addr,
    /// The API server.
    pub client: Client,
    /// What runs pods.
    pub backend: Arc<dyn PodBackend>,
    /// What the node offers.
    pub offer: Arc<Offer>,
    /// The same as quantities, for the downward API.
    pub allocatable: Arc<BTreeMap<String, Quantity>>,
    /// Environment every container gets.
    pub env: Arc<[(String, String)]>,
    /// Addresses of all pods of the process.
    pub addresses: Arc<Mutex<Addresses>>,
    /// Objects that pods refer to.
    pub sources: Arc<ApiSources>,
    /// Who uses them.
    pub references: Arc<ReferenceIndex>,
    /// Where events go.
    pub recorder: Recorder,
    /// The pods, for readers.
    pub table: Arc<PodTable>,
    /// Calls at once; see [`CONCURRENT_CALLS`].
    pub permits: Arc<Semaphore>,
}

/// What an agent hears.
pub struct Inputs {
    /// Changes of pods.
    pub changes: mpsc::Receiver<Change>,
    /// Pods of which a mounted object changed.
    pub objects: mpsc::Receiver<PodUid>,
}

/// The agent.
pub struct Agent {
    config: AgentConfig,
    node_sources: Arc<NodeSources>,
    entries: HashMap<PodUid, Entry>,
    /// False until the first list: before it nobody knows which recovered pods still exist.
    listed: bool,
    /// Uids named by the list that is coming in.
    list: Option<HashSet<PodUid>>,
    calls: JoinSet<Finished>,
    timers: DelayQueue<PodUid>,
    /// Cancelled when the node is ready to run pods.
    ready: CancellationToken,
    /// Pods of the first list whose true state the API server has not heard of yet.
    untold: HashSet<PodUid>,
    /// Cancelled when there are none.
    told: CancellationToken,
}

impl Agent {
    /// An agent that has not looked at anything yet. `ready` is cancelled after its first list.
    #[must_use]
    pub fn new(config: AgentConfig, ready: CancellationToken) -> Self {
        let labels = Arc::new(config.offer.labels.clone());
        let node_sources =
            Arc::new(NodeSources::new(config.sources.clone(), config.name.to_string(), labels));
        Self {
            config,
            node_sources,
            entries: HashMap::new(),
            listed: false,
            list: None,
            calls: JoinSet::new(),
            timers: DelayQueue::new(),
            ready,
            untold: HashSet::new(),
            told: CancellationToken::new(),
        }
    }

    /// Cancelled when the API server has heard of every pod of the first list how it stands now.
    #[must_use]
    pub fn told(&self) -> CancellationToken {
        self.told.clone()
    }

    /// Takes over what an earlier run left. Before [`run`](Self::run).
    ///
    /// # Errors
    /// When the backend cannot read its records: a node that does not know what runs must not start anything.
    pub async fn recover(&mut self) -> Result<(), BackendError> {
        for recovered in self.config.backend.recover().await? {
            // It was stripped when it was given to the backend, which keeps it too.
            let pod = recovered.pod;
            if let IpAddr::V4(address) = recovered.pod_ip {
                self.addresses(|addresses, node| addresses.restore(node, &recovered.uid, &pod, address));
            }
            tracing::info!(uid = %recovered.uid, running = recovered.running, "adopted a pod");
            self.entries.insert(recovered.uid, Entry::recovered(pod, recovered.pod_ip));
        }
        Ok(())
    }

    /// Works until `shutdown`; pods go on running.
    pub async fn run(mut self, mut inputs: Inputs, shutdown: CancellationToken) {
        let hub = self.config.backend.events();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                change = inputs.changes.recv() => match change {
                    Some(change) => self.change(change),
                    None => break,
                },
                batch = hub.next() => {
                    for event in batch.events {
                        self.config.recorder.backend(&self.config.name, event);
                    }
                    for uid in batch.changed {
                        self.advance(&uid);
                    }
                }
                Some(uid) = inputs.objects.recv() => self.object_changed(&uid),
                Some(finished) = self.calls.join_next(), if !self.calls.is_empty() => {
                    match finished {
                        Ok(finished) => self.finished(finished),
                        Err(error) => self.lost(&error),
                    }
                }
                Some(expired) = self.timers.next(), if !self.timers.is_empty() => {
                    self.expired(&expired);
                }
            }
        }
        // What is on its way is let go: the next run computes it again.
        self.calls.shutdown().await;
    }

    fn change(&mut self, change: Change) {
        match change {
            Change::Begin => self.list = Some(HashSet::new()),
            Change::Apply { pod, status } => {
                let Ok(uid) = PodUid::of(&pod) else { return };
                if let Some(list) = &mut self.list {
                    list.insert(uid.clone());
                }
                self.apply(&uid, pod, status);
                if self.listed {
                    self.advance(&uid);
                }
            }
            Change::Delete { pod } => {
                let Ok(uid) = PodUid::of(&pod) else { return };
                if let Some(entry) = self.entries.get_mut(&uid) {
                    entry.gone(Some(pod));
                    self.advance(&uid);
                }
            }
            Change::Listed => self.list_complete(),
        }
    }

    /// What was not listed is gone; on the first list everything gets its first look, the oldest pods first, as they
    /// were admitted in that order before.
    fn list_complete(&mut self) {
        let named = self.list.take().unwrap_or_default();
        let first = !std::mem::replace(&mut self.listed, true);
        let mut due: Vec<PodUid> = Vec::new();
        for (uid, entry) in &mut self.entries {
            if !named.contains(uid) {
                entry.gone(None);
                due.push(uid.clone());
            } else if first {
                due.push(uid.clone());
            }
        }
        due.sort_by_key(|uid| self.entries.get(uid).map(|entry| (!entry.adopted, entry.created())));
        for uid in due {
            self.advance(&uid);
            // Without a call the API server knows already.
            if first && self.entries.get(&uid).is_some_and(|entry| entry.call.is_some()) {
                self.untold.insert(uid);
            }
        }
        self.ready.cancel();
        self.note_told(None);
    }

    /// The API server has heard of this pod.
    fn note_told(&mut self, uid: Option<&PodUid>) {
        if let Some(uid) = uid {
            self.untold.remove(uid);
        }
        if self.listed && self.untold.is_empty() {
            self.told.cancel();
        }
    }

    fn apply(&mut self, uid: &PodUid, pod: Arc<Pod>, status: Arc<PodStatus>) {
        match self.entries.get_mut(uid) {
            Some(entry) => entry.apply(pod, status),
            None => {
                self.entries.insert(uid.clone(), Entry::new(pod, status));
            }
        }
        self.publish(uid);
    }

    /// A secret or configMap the pod uses is another one: the backend reads it again.
    fn object_changed(&mut self, uid: &PodUid) {
        if let Some(entry) = self.entries.get_mut(uid) {
            entry.given = None;
            self.advance(uid);
        }
    }

    /// Makes readers see the pod as it is known here.
    fn publish(&self, uid: &PodUid) {
        if let Some(entry) = self.entries.get(uid).filter(|entry| entry.in_api) {
            self.config.table.set(entry.row(uid));
        }
    }

    fn addresses<T>(&self, f: impl FnOnce(&mut Addresses, u8) -> T) -> T {
        let mut addresses = self.config.addresses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        f(&mut addresses, self.config.index)
    }

    /// Looks at the pod again after a while, whatever happens until then.
    fn look_again(&mut self, uid: &PodUid, after: Duration) {
        if let Some(entry) = self.entries.get_mut(uid) {
            if let Some(timer) = entry.timer.take() {
                self.timers.try_remove(&timer);
            }
            entry.timer = Some(self.timers.insert(uid.clone(), after));
        }
    }

    fn expired(&mut self, expired: &Expired<PodUid>) {
        let uid = expired.get_ref();
        if let Some(entry) = self.entries.get_mut(uid)
            && entry.timer == Some(expired.key())
        {
            entry.timer = None;
        }
        self.advance(uid);
    }

    fn finished(&mut self, finished: Finished) {
        let Finished { uid, done } = finished;
        let Some(entry) = self.entries.get_mut(&uid) else { return };
        entry.call = None;
        match done {
            Done::Patched(pod) => {
                entry.failures = 0;
                let (pod, status) = strip::split(*pod);
                entry.apply(pod, status);
                self.publish(&uid);
                self.note_futile(&uid);
            }
            Done::Removed => entry.failures = 0,
            // After either the watch says what becomes of it.
            Done::Deleted | Done::Gone => {
                entry.failures = 0;
                entry.deleted = true;
            }
            Done::Conflict(error) | Done::Failed(error) => {
                entry.failures = entry.failures.saturating_add(1);
                let after = entry::retry_after(entry.failures);
                let name = entry.name();
                tracing::warn!(pod = name, %error, ?after, "a call for a pod failed");
                self.look_again(&uid, after);
                return;
            }
        }
        self.note_told(Some(&uid));
        self.advance(&uid);
    }

    fn now() -> Timestamp {
        // Kubernetes keeps seconds; a finer time here would look like a change there.
        Timestamp::from_second(Timestamp::now().as_second()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

#[cfg(test)]
mod tests;
