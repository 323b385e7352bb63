//! Runs the nodes of one process: what can be shared is there once, whatever the number of nodes.
//!
//! Shared: the client, one watch of secrets and one of configMaps (metadata only), the watch of pods when asked for, the
//! writer of events, the heartbeat's look at the machine, the volume provisioner. A node's own: its agent, its endpoint,
//! its backend.

mod beat;
mod error;

use std::collections::{BTreeSet, HashMap};
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{HostConfig, NodeConfig};
use crate::events::Recorder;
use crate::node::keeper::Keeper;
use crate::node::machine::Machine;
use crate::node::object::{self, Capacity, NodeFacts};
use crate::pods::address::Addresses;
use crate::pods::admission::Offer;
use crate::pods::agent::{Agent, AgentConfig, CONCURRENT_CALLS, Inputs};
use crate::pods::references::{ReferenceIndex, User};
use crate::pods::requests::Amounts;
use crate::pods::sources::ApiSources;
use crate::pods::table::PodTable;
use crate::pods::{objects, watch};
use crate::provisioner::{Provisioner, ProvisionerConfig};
use crate::server::{self, NodeMetrics, ServerState};
use beat::{Beat, BeatNode};
pub use error::HostError;

/// Changed objects that wait for one agent.
const OBJECT_QUEUE: usize = 64;

/// Several nodes in one process.
pub struct Host {
    shared: HostConfig,
    nodes: Vec<NodeConfig>,
}

/// One node alone in its process.
pub struct Node(Host);

impl Node {
    /// A node and what it would share with others.
    #[must_use]
    pub fn new(shared: HostConfig, node: NodeConfig) -> Self {
        Self(Host::new(shared, vec![node]))
    }

    /// See [`Host::run`].
    ///
    /// # Errors
    /// See [`Host::run`].
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), HostError> {
        self.0.run(shutdown).await
    }
}

/// A node with what follows from its configuration.
struct Prepared {
    config: NodeConfig,
    name: Arc<str>,
    address: Ipv4Addr,
    capacity: Capacity,
    table: Arc<PodTable>,
    ready: CancellationToken,
    metrics: Arc<NodeMetrics>,
    listener: TcpListener,
}

impl Host {
    /// These nodes.
    #[must_use]
    pub fn new(shared: HostConfig, nodes: Vec<NodeConfig>) -> Self {
        Self { shared, nodes }
    }

    /// Runs the nodes until `shutdown`; then their pods are halted, or go on running, as configured, and are taken over
    /// by the next run. Everything that can be away for a while (the API server above all) is waited for.
    ///
    /// # Errors
    /// When a node cannot begin: its address is taken, or its backend cannot read what it left.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), HostError> {
        let machine = Arc::new(Machine::look(&self.shared.data_dir));
        let mut prepared = Vec::new();
        for node in &self.nodes {
            prepared.push(self.prepare(node, &machine).await?);
        }
        let stop = shutdown.child_token();
        let mut work = JoinSet::new();
        let client = self.shared.client.clone();
        let (recorder, events) = Recorder::new(client.clone());
        work.spawn(events);
        let references = Arc::new(ReferenceIndex::default());
        let sources = ApiSources::new(client.clone(), references.clone());
        let addresses = Arc::new(Mutex::new(Addresses::new(self.shared.net)));
        let permits = Arc::new(Semaphore::new(CONCURRENT_CALLS));
        let env: Arc<[(String, String)]> = self.shared.env.clone().into();

        let mut senders = HashMap::new();
        let mut object_senders = HashMap::new();
        let mut agents = Vec::new();
        let mut told = Vec::new();
        for node in &prepared {
            let (changes_in, changes) = mpsc::channel(watch::QUEUE);
            let (objects_in, objects) = mpsc::channel(OBJECT_QUEUE);
            senders.insert(node.config.name.clone(), changes_in);
            object_senders.insert(node.config.index, objects_in);
            let facts = node.facts(&machine, "");
            let allocatable = node.capacity.list();
            let offer = Offer {
                name: node.config.name.clone(),
                labels: object::labels(&facts),
                allocatable: Amounts::from_list(Some(&allocatable)),
            };
            let config = AgentConfig {
                name: node.name.clone(),
                index: node.config.index,
                address: node.address,
                client: client.clone(),
                backend: node.config.backend.clone(),
                offer: Arc::new(offer),
                allocatable: Arc::new(allocatable),
                env: env.clone(),
                addresses: addresses.clone(),
                sources: sources.clone(),
                references: references.clone(),
                recorder: recorder.clone(),
                table: node.table.clone(),
                permits: permits.clone(),
            };
            let agent = Agent::new(config, node.ready.clone());
            told.push(agent.told());
            agents.push((agent, Inputs { changes, objects }));
        }
        // All nodes know what they have before any of them gives out an address.
        for ((agent, _), node) in agents.iter_mut().zip(&prepared) {
            agent
                .recover()
                .await
                .map_err(|source| HostError::Recovery { node: node.name.to_string(), source })?;
        }
        let mut running = JoinSet::new();
        for (agent, inputs) in agents {
            running.spawn(agent.run(inputs, stop.clone()));
        }
        let (changed_in, changed) = mpsc::channel(objects::QUEUE);
        work.spawn(watch::run(client.clone(), senders, self.shared.pod_watch));
        work.spawn(objects::run(client.clone(), references, changed_in));
        work.spawn(hand_on(changed, object_senders));
        work.spawn(all_told(told, self.shared.reported.clone()));

        let backends: Vec<_> = prepared.iter().map(|node| node.config.backend.clone()).collect();
        let names: BTreeSet<String> = prepared.iter().map(|node| node.config.name.clone()).collect();
        if let (Some(root), Some(first)) = (self.shared.volumes.clone(), prepared.first()) {
            let config = ProvisionerConfig { root, nodes: names };
            let provisioner = Provisioner::new(client.clone(), recorder.clone(), first.name.clone(), config);
            work.spawn(provisioner.run(stop.clone()));
        }
        let mut beat_nodes = Vec::new();
        for node in prepared {
            let mut state = ServerState::new(
                node.name.clone(),
                node.table.clone(),
                node.config.backend.clone(),
                self.shared.access.clone(),
            );
            state.metrics = node.metrics.clone();
            let keeper = Keeper::new(client.clone(), recorder.clone(), node.name.clone());
            beat_nodes.push(BeatNode {
                keeper,
                config: node.config,
                address: node.address,
                capacity: node.capacity,
                ready: node.ready,
                metrics: node.metrics,
            });
            work.spawn(server::serve(node.listener, self.shared.tls.clone(), Arc::new(state), stop.clone()));
        }
        drop(recorder);
        let beat = Beat::new(client, machine, self.shared.data_dir.clone(), self.shared.limits, beat_nodes);
        work.spawn(beat.run(stop.clone()));

        let ended = tokio::select! {
            // The agents see the shutdown too; that they end then is no failure.
            biased;
            () = shutdown.cancelled() => Ok(()),
            ended = running.join_next() => Err(HostError::Ended(ended.and_then(Result::err).map(|e| e.to_string()))),
        };
        stop.cancel();
        while running.join_next().await.is_some() {}
        if ended.is_ok() {
            // The stages in order, each on all nodes: what one pod needs may run on another node.
            for stage in &self.shared.halt {
                join_all(backends.iter().map(|backend| backend.halt(stage))).await;
            }
        }
        for backend in backends {
            backend.release().await;
        }
        work.shutdown().await;
        ended
    }

    async fn prepare(&self, node: &NodeConfig, machine: &Machine) -> Result<Prepared, HostError> {
        let address = self.shared.net.node(node.index)?;
        let listener = TcpListener::bind((address, node.port)).await.map_err(|source| HostError::Listen {
            node: node.name.clone(),
            address: format!("{address}:{}", node.port),
            source,
        })?;
        Ok(Prepared {
            name: Arc::from(node.name.as_str()),
            address,
            capacity: node.capacity.clone().unwrap_or_else(|| Capacity::of(machine, node.max_pods)),
            table: Arc::default(),
            ready: CancellationToken::new(),
            metrics: Arc::default(),
            listener,
            config: node.clone(),
        })
    }
}

impl Prepared {
    fn facts<'a>(&'a self, machine: &'a Machine, version: &'a str) -> NodeFacts<'a> {
        facts(&self.config, self.address, &self.capacity, machine, version)
    }
}

fn facts<'a>(
    config: &'a NodeConfig,
    address: Ipv4Addr,
    capacity: &'a Capacity,
    machine: &'a Machine,
    version: &'a str,
) -> NodeFacts<'a> {
    NodeFacts {
        name: &config.name,
        zone: &config.zone,
        backend: config.backend.name(),
        labels: &config.labels,
        address,
        port: config.port,
        capacity,
        machine,
        version,
    }
}

/// Passes on that every agent has told how its pods stand.
async fn all_told(agents: Vec<CancellationToken>, reported: CancellationToken) {
    for agent in agents {
        agent.cancelled().await;
    }
    reported.cancel();
}

/// Tells each changed object's users to their own agents.
async fn hand_on(
    mut changed: mpsc::Receiver<User>,
    agents: HashMap<u8, mpsc::Sender<crate::backend::PodUid>>,
) {
    while let Some((node, uid)) = changed.recv().await {
        if let Some(agent) = agents.get(&node)
            && agent.send(uid).await.is_err()
        {
            return;
        }
    }
}
