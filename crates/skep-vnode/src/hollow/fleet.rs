//! Plays all hollow nodes of one cluster.
//!
//! One task owns everything that is known; calls to the API server run beside it, a bounded number at once, and report back.
//! What has to be written is looked up when its turn comes, so under load states that nobody has seen are left out, and what
//! waits is never more than one entry for each pod and node.

mod calls;
mod nodes;
mod pods;
mod watch;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Client;
use tokio::sync::watch::Receiver;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::time::DelayQueue;
use tokio_util::time::delay_queue::Key;

use super::address::Addresses;
use super::config::Config;
use super::life::Millis;
use super::node::NodeSpec;
use super::spec::Specs;
use calls::{Done, Finished};
use nodes::NodeEntry;
use pods::PodEntry;

/// Calls at once for nodes (registrations, leases) and for pods: together well below the 100 streams that an API server
/// takes over one connection.
const NODE_CALLS: usize = 24;
const POD_CALLS: usize = 48;
/// Pause before a call that failed is made again: the first, and the longest it doubles up to.
const RETRY: (Millis, Millis) = (500, 30_000);
/// Lists of all pods because of nodes that were there before come no closer than this.
const RELIST: Duration = Duration::from_secs(5);

/// What a fleet is told.
#[derive(Clone)]
pub struct FleetConfig {
    /// Client of the cluster; another one when the credentials are renewed.
    pub clients: Receiver<Client>,
    /// How its nodes behave.
    pub config: Arc<Config>,
    /// The nodes that should be there.
    pub nodes: Receiver<Arc<Vec<Arc<NodeSpec>>>>,
    /// Where it counts.
    pub figures: Arc<Figures>,
}

/// What a fleet counts.
#[derive(Debug, Default)]
pub struct Figures {
    /// Nodes that are registered.
    pub nodes: AtomicUsize,
    /// Pods on them.
    pub pods: AtomicUsize,
    /// Calls that were made.
    pub calls: AtomicU64,
    /// Calls that failed.
    pub failed: AtomicU64,
}

/// All hollow nodes of a cluster.
pub struct Fleet {
    config: Arc<Config>,
    client: Client,
    clients: Receiver<Client>,
    wanted: Receiver<Arc<Vec<Arc<NodeSpec>>>>,
    figures: Arc<Figures>,
    nodes: HashMap<Arc<str>, NodeEntry>,
    pods: HashMap<Arc<str>, PodEntry>,
    /// Nodes that are told to be dark.
    dark: HashSet<Arc<str>>,
    /// Those of the list that is being delivered.
    dark_listing: Option<HashSet<Arc<str>>>,
    specs: Specs,
    /// Namespaces, each once.
    names: HashSet<Arc<str>>,
    addresses: Addresses,
    wheel: DelayQueue<Due>,
    calls: JoinSet<Finished>,
    node_queue: VecDeque<Arc<str>>,
    pod_queue: VecDeque<Arc<str>>,
    node_calls: usize,
    pod_calls: usize,
    /// Uids of the list that is being delivered.
    listing: Option<HashSet<Arc<str>>>,
    /// The pods have to be listed anew, at this time.
    relist: Option<Instant>,
}

/// Whose time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Due {
    Node(Arc<str>),
    Pod(Arc<str>),
}

impl Fleet {
    /// A fleet that has not looked at anything. Must be called inside a Tokio runtime.
    #[must_use]
    pub fn new(config: FleetConfig) -> Self {
        let FleetConfig { mut clients, config, nodes, figures } = config;
        let client = clients.borrow_and_update().clone();
        Self {
            config,
            client,
            clients,
            wanted: nodes,
            figures,
            nodes: HashMap::new(),
            pods: HashMap::new(),
            dark: HashSet::new(),
            dark_listing: None,
            specs: Specs::default(),
            names: HashSet::new(),
            addresses: Addresses::default(),
            wheel: DelayQueue::new(),
            calls: JoinSet::new(),
            node_queue: VecDeque::new(),
            pod_queue: VecDeque::new(),
            node_calls: 0,
            pod_calls: 0,
            listing: None,
            relist: None,
        }
    }

    /// Plays until `stop`, or until nobody says any more which nodes there should be. Nodes and pods stay in the API: they
    /// are played on by the next run.
    pub async fn run(mut self, stop: CancellationToken) {
        self.take_nodes();
        let (mut pods, mut dark) = (watch::pods(&self.client), watch::dark(&self.client));
        loop {
            let relist = self.relist;
            let relist = async move {
                match relist {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(done) = self.calls.join_next(), if !self.calls.is_empty() => match done {
                    Ok(finished) => self.finished(finished),
                    Err(error) => tracing::error!(%error, "a call of hollow nodes"),
                },
                Some(due) = self.wheel.next(), if !self.wheel.is_empty() => self.due(due.into_inner()),
                changed = self.wanted.changed() => match changed {
                    Ok(()) => self.take_nodes(),
                    Err(_) => break,
                },
                Ok(()) = self.clients.changed() => {
                    self.client = self.clients.borrow_and_update().clone();
                    (pods, dark) = (watch::pods(&self.client), watch::dark(&self.client));
                }
                () = relist => {
                    self.relist = None;
                    pods = watch::pods(&self.client);
                }
                Some(event) = pods.next() => self.take_pods(event),
                Some(event) = dark.next() => self.take_dark(event),
            }
            self.pump();
        }
        self.calls.shutdown().await;
        self.figures.nodes.store(0, Ordering::Relaxed);
        self.figures.pods.store(0, Ordering::Relaxed);
    }

    /// Makes as many of the waiting calls as may be made at once. Nodes come first: a lease that is late makes the cluster
    /// think that a machine is gone.
    fn pump(&mut self) {
        while self.node_calls < NODE_CALLS {
            let Some(name) = self.node_queue.pop_front() else { break };
            self.call_node(&name);
        }
        while self.pod_calls < POD_CALLS {
            let Some(uid) = self.pod_queue.pop_front() else { break };
            self.call_pod(&uid);
        }
        self.figures.pods.store(self.pods.len(), Ordering::Relaxed);
    }

    fn due(&mut self, due: Due) {
        match due {
            Due::Node(name) => {
                if let Some(node) = self.nodes.get_mut(&name) {
                    node.timer = None;
                }
                self.queue_node(&name);
            }
            Due::Pod(uid) => {
                if let Some(pod) = self.pods.get_mut(&uid) {
                    pod.timer = None;
                }
                self.touch(&uid);
            }
        }
    }

    fn finished(&mut self, finished: Finished) {
        self.figures.calls.fetch_add(1, Ordering::Relaxed);
        let failed =
            matches!(finished, Finished::Node(_, Done::Failed(_)) | Finished::Pod(_, Done::Failed(_)));
        self.figures.failed.fetch_add(u64::from(failed), Ordering::Relaxed);
        match finished {
            Finished::Node(name, done) => {
                self.node_calls = self.node_calls.saturating_sub(1);
                self.node_done(&name, done);
            }
            Finished::Pod(uid, done) => {
                self.pod_calls = self.pod_calls.saturating_sub(1);
                self.pod_done(&uid, done);
            }
        }
    }

    /// Sets the one timer of a node or a pod.
    fn set_timer(&mut self, old: Option<Key>, due: Due, at: Millis) -> Key {
        let after = Duration::from_millis(u64::try_from(at.saturating_sub(now())).unwrap_or_default());
        // The wheel takes two years at most.
        let after = after.min(Duration::from_secs(30 * 24 * 3600));
        match old {
            Some(key) => {
                self.wheel.reset(&key, after);
                key
            }
            None => self.wheel.insert(due, after),
        }
    }

    fn stop_timer(&mut self, timer: Option<Key>) {
        if let Some(key) = timer {
            self.wheel.remove(&key);
        }
    }
}

/// The time as the API has it.
fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

/// Pause before what failed so often is tried again.
fn retry(failures: u8) -> Millis {
    (RETRY.0 << failures.min(6)).min(RETRY.1)
}
