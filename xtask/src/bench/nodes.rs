//! `xtask bench nodes`: what a local node costs: how long it takes to join, against containerd and kubelet started by hand in
//! the same run; many at once; and what the two ways between pods of different nodes can carry.

mod by_hand;
mod host;
mod path;
pub mod probe;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::{Event, Node};
use kube::{
    Api, Client,
    api::{ListParams, Patch, PatchParams, PostParams},
    runtime::watcher,
};
use serde_json::json;
use skep_api::{Machine, NodePool};
use skep_kubeops::client::ClientConfig;

use super::{
    report::{Goal, Report, Spread},
    tenant::{self, Tenant},
};
use crate::{installation::Installation, processes};

/// What to measure and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Joins to measure, and as many by hand.
    #[arg(long, default_value_t = 3)]
    pub runs: usize,
    /// Nodes that a pool of three grows to.
    #[arg(long, default_value_t = 10)]
    pub grow_to: i32,
    /// Rounds between pods, of each kind of network.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of each measurement between pods.
    #[arg(long, default_value_t = 2)]
    pub seconds: u64,
    /// The `skep` binary.
    #[arg(long, default_value = "target/release/skep")]
    pub skep: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
}

const NAME: &str = "nodes";
/// Nodes before a pool grows.
const FROM: i32 = 3;
/// For any number of nodes.
const LIMIT: Duration = Duration::from_secs(300);

/// Runs the bench.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    anyhow::ensure!(nix::unistd::geteuid().is_root(), "local nodes need root: run this bench as root");
    let scratch = tempfile::Builder::new().prefix("skep-bench-").tempdir()?;
    let mut report = Report::new("nodes");
    let data = scratch.path().join("skep");
    let installation = Installation::up(&options.skep, &data)?;
    let hub = ClientConfig::from_kubeconfig(&data.join("kubeconfig"), None).await?.build("skep-bench")?;
    let own = installation.supervisor()?;
    let tenant = tenant::create(&hub, NAME, &json!({})).await?;
    let bench = Bench {
        pools: Api::namespaced(hub.clone(), "default"),
        nodes: Api::all(tenant.client.clone()),
        data,
        hub,
        own,
    };

    bench.pools.create(&PostParams::default(), &pool()?).await?;
    // What is made once for all nodes is not measured: programs, the bridge.
    bench.scale(1).await?;
    bench.joins(options, &tenant, scratch.path(), &mut report).await?;
    path::measure(&tenant.client, &bench.machines().await?, options, &mut report).await?;
    bench.growth(options, &mut report).await?;
    report.notes.push(
        "By hand: the clock starts with containerd, network and files are there; the kubelet has the administrator's \
         certificate, so that nothing has to be approved. Ours: from the change of the pool's size."
            .to_owned(),
    );
    installation.down()?;
    report.finish(&options.results)
}

/// What is measured on.
struct Bench {
    hub: Client,
    pools: Api<NodePool>,
    nodes: Api<Node>,
    data: PathBuf,
    own: u32,
}

impl Bench {
    /// Changes the size of the pool; returns how long it took until all its nodes were ready.
    async fn scale(&self, to: i32) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let patch = Patch::Merge(json!({"spec": {"replicas": to}}));
        self.pools.patch(NAME, &PatchParams::default(), &patch).await?;
        ready(&self.nodes, usize::try_from(to)?).await?;
        Ok(began.elapsed())
    }

    /// In turns, so that both meet the machine in the same mood.
    async fn joins(
        &self,
        options: &Options,
        tenant: &Tenant,
        scratch: &Path,
        report: &mut Report,
    ) -> anyhow::Result<()> {
        let by_hand = by_hand::Bed::new(&self.data, &self.machines().await?, &tenant.kubeconfig, scratch)?;
        let (mut ours, mut theirs, mut cpus) = (Vec::new(), Vec::new(), Vec::new());
        for run in 0..options.runs {
            theirs.push(by_hand.join(run, &self.nodes).await?);
            settle().await;
            let before = processes::cpu(self.own);
            ours.push(self.scale(i32::try_from(run)? + 2).await?);
            cpus.push(processes::cpu(self.own).saturating_sub(before));
            settle().await;
        }
        let hand = Spread::seconds(theirs);
        report.row("by hand: containerd and kubelet, node ready", "s", hand, options.runs, None);
        let own = Spread::seconds(ours);
        let goal = Goal::at_most(10.0, own.median, "s");
        report.row("join: machine requested, node ready", "s", own, options.runs, Some(goal));
        let ratio = own.median / hand.median;
        let goal = Goal::at_most(1.5, ratio, "x by hand");
        report.row("join: of by hand", "x", Spread::of([ratio]), options.runs, Some(goal));
        report.row("join: CPU of everything until then", "CPU s", Spread::seconds(cpus), options.runs, None);
        Ok(())
    }

    /// From three nodes to ten, all at once.
    async fn growth(&self, options: &Options, report: &mut Report) -> anyhow::Result<()> {
        let patch = Patch::Merge(json!({"spec": {"replicas": FROM}}));
        self.pools.patch(NAME, &PatchParams::default(), &patch).await?;
        let until = Instant::now() + LIMIT;
        while self.machines().await?.len() != usize::try_from(FROM)? {
            anyhow::ensure!(Instant::now() < until, "the pool did not shrink to {FROM}");
            settle().await;
        }
        let before = processes::cpu(self.own);
        let wall = self.scale(options.grow_to).await?;
        let cpu = processes::cpu(self.own).saturating_sub(before);
        let grown = f64::from(options.grow_to - FROM);
        let what = format!("pool {FROM} to {}", options.grow_to);
        report.row(&format!("{what}: all ready"), "s", Spread::seconds([wall]), 1, None);
        let each = cpu.as_secs_f64() / grown;
        report.row(&format!("{what}: CPU of everything, each"), "CPU s", Spread::of([each]), 1, None);

        settle().await;
        let machines = self.machines().await?;
        let failures = self.failures(&machines, options.grow_to).await?;
        for failure in &failures {
            eprintln!("failure: {failure}");
        }
        let count = failures.len() as f64;
        let goal = Goal::at_most(0.0, count, "failures");
        report.row(&format!("{what}: failures"), "number", Spread::of([count]), 1, Some(goal));
        let memory = host::memory(&machines);
        let total: Vec<f64> = memory.values().map(|programs| programs.values().sum()).collect();
        report.row("memory of a node", "MiB PSS", Spread::of(total.clone()), total.len(), None);
        for program in ["skep", "containerd", "kubelet", "kube-proxy", "containerd-shim-runc-v2"] {
            let of = memory.values().map(|programs| programs.get(program).copied().unwrap_or_default());
            let figures = Spread::of(of);
            report.row(&format!("memory of a node: {program}"), "MiB PSS", figures, total.len(), None);
        }
        Ok(())
    }

    /// Everything that did not go as it should with the machines that are there and those that are not.
    async fn failures(&self, machines: &[host::Machine], wanted: i32) -> anyhow::Result<Vec<String>> {
        let mut failures = Vec::new();
        if machines.len() != usize::try_from(wanted)? {
            failures.push(format!("{} machines instead of {wanted}", machines.len()));
        }
        let status = self.pools.get(NAME).await?.status.unwrap_or_default();
        failures.extend(status.repairs.iter().map(|order| format!("{} was repaired", order.machine)));
        let events: Api<Event> = Api::namespaced(self.hub.clone(), "default");
        let warnings = ListParams::default().fields("type=Warning,involvedObject.kind=Machine");
        for event in events.list(&warnings).await? {
            let name = event.involved_object.name.unwrap_or_default();
            failures.push(format!("{name}: {}", event.message.unwrap_or_default()));
        }
        Ok(failures)
    }

    /// The machines of the pool, by name.
    async fn machines(&self) -> anyhow::Result<Vec<host::Machine>> {
        let machines: Api<Machine> = Api::namespaced(self.hub.clone(), "default");
        let all = machines.list(&ListParams::default()).await?;
        let found = all.iter().map(|machine| host::Machine::find(&self.data, machine));
        found.collect::<anyhow::Result<_>>().context("a machine is not there")
    }
}

fn pool() -> anyhow::Result<NodePool> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "metadata": {"name": NAME},
        "spec": {"cluster": NAME, "replicas": 0, "template": {"machineClass": "local-small"}},
    }))?)
}

/// Waits until so many nodes are ready, as an event.
async fn ready(nodes: &Api<Node>, wanted: usize) -> anyhow::Result<()> {
    let mut ready = BTreeSet::new();
    let mut events = std::pin::pin!(watcher(nodes.clone(), watcher::Config::default()));
    let watching = async {
        while let Some(event) = events.try_next().await? {
            let (node, gone) = match event {
                watcher::Event::Apply(node) | watcher::Event::InitApply(node) => (node, false),
                watcher::Event::Delete(node) => (node, true),
                watcher::Event::Init | watcher::Event::InitDone => continue,
            };
            let name = node.metadata.name.clone().unwrap_or_default();
            if !gone && is_ready(&node) {
                ready.insert(name)
            } else {
                ready.remove(&name)
            };
            if ready.len() >= wanted {
                return Ok(());
            }
        }
        anyhow::bail!("the watch of nodes ended")
    };
    tokio::time::timeout(LIMIT, watching)
        .await
        .with_context(|| format!("{wanted} nodes were not ready in time"))?
}

fn is_ready(node: &Node) -> bool {
    let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Lets what follows a join end: components, their pods, the first reports.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(5)).await;
}
