//! The heartbeat of all nodes of a process: one look at the machine, then every node's lease and status.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::Timestamp;
use kube::Client;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::config::NodeConfig;
use crate::node::keeper::{HEARTBEAT, Keeper};
use crate::node::machine::Machine;
use crate::node::object::Capacity;
use crate::node::pressure::{Limits, Measure, Memory};
use crate::server::NodeMetrics;

/// A node registers when it knows its pods, which takes a moment; or without them, so that it can be seen.
const FIRST_BEAT: Duration = Duration::from_secs(3);
/// How often the API server is asked for its version: it may have been upgraded.
const VERSION: Duration = Duration::from_secs(300);
/// One question.
const DEADLINE: Duration = Duration::from_secs(8);
/// While the API server cannot be reached at first.
const FIRST_RETRY: Duration = Duration::from_millis(500);

/// One node's part.
pub struct BeatNode {
    pub keeper: Keeper,
    pub config: NodeConfig,
    pub address: Ipv4Addr,
    pub capacity: Capacity,
    pub ready: CancellationToken,
    pub metrics: Arc<NodeMetrics>,
}

/// The heartbeat.
pub struct Beat {
    client: Client,
    machine: Arc<Machine>,
    data_dir: PathBuf,
    limits: Limits,
    memory: Memory,
    nodes: Vec<BeatNode>,
    version: Option<(String, Instant)>,
}

impl Beat {
    pub fn new(
        client: Client,
        machine: Arc<Machine>,
        data_dir: PathBuf,
        limits: Limits,
        nodes: Vec<BeatNode>,
    ) -> Self {
        Self { client, machine, data_dir, limits, memory: Memory::default(), nodes, version: None }
    }

    pub async fn run(mut self, stop: CancellationToken) {
        let all_ready = {
            let tokens: Vec<_> = self.nodes.iter().map(|node| node.ready.clone()).collect();
            async move {
                for token in tokens {
                    token.cancelled().await;
                }
            }
        };
        tokio::pin!(all_ready);
        let mut was_ready = tokio::select! {
            () = &mut all_ready => true,
            () = tokio::time::sleep(FIRST_BEAT) => false,
            () = stop.cancelled() => return,
        };
        while self.version.is_none() {
            self.ask_version().await;
            if self.version.is_none() {
                tokio::select! {
                    () = tokio::time::sleep(FIRST_RETRY) => {}
                    () = stop.cancelled() => return,
                }
            }
        }
        let mut ticks = tokio::time::interval(HEARTBEAT);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = &mut all_ready, if !was_ready => was_ready = true,
                () = stop.cancelled() => return,
            }
            tokio::select! {
                () = self.beat() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn beat(&mut self) {
        if self.version.as_ref().is_none_or(|(_, asked)| asked.elapsed() >= VERSION) {
            self.ask_version().await;
        }
        let version = self.version.as_ref().map(|(version, _)| version.clone()).unwrap_or_default();
        let scarce = Measure::take(&self.data_dir).scarce(&self.limits);
        let pressures = self.memory.report(Timestamp::now(), scarce, self.limits.settle);
        let machine = &self.machine;
        let beats = self.nodes.iter_mut().map(|node| async {
            let facts = super::facts(&node.config, node.address, &node.capacity, machine, &version);
            let mut not_ready = Vec::new();
            if !node.ready.is_cancelled() {
                not_ready.push("the node has not read its pods yet".to_owned());
            }
            if let Err(error) = node.keeper.beat(&facts, pressures, &not_ready).await {
                node.metrics.failed_beats.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "a heartbeat failed");
            }
        });
        futures::future::join_all(beats).await;
    }

    async fn ask_version(&mut self) {
        match tokio::time::timeout(DEADLINE, self.client.apiserver_version()).await {
            Ok(Ok(info)) => self.version = Some((info.git_version, Instant::now())),
            Ok(Err(error)) => tracing::warn!(%error, "the API server does not tell its version"),
            Err(_) => tracing::warn!("the API server does not answer"),
        }
    }
}
