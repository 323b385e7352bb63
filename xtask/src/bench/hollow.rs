//! `xtask bench hollow`: a tenant cluster with thousands of nodes and tens of thousands of pods that exist in its API only.
//! What is measured is real: the tenant's control plane, the gateway, and our process, which plays them.

mod storm;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::Deployment;
use kube::{
    Api,
    api::{ListParams, PostParams},
};
use serde_json::json;
use skep_api::NodePool;
use skep_kubeops::client::ClientConfig;

use super::{
    report::{Goal, Report, Spread},
    tenant,
};
use crate::{installation::Installation, processes};

/// How much to make.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Nodes of the tenant.
    #[arg(long, default_value_t = 2_000)]
    pub nodes: i32,
    /// Pods on them.
    #[arg(long, default_value_t = 20_000)]
    pub pods: i32,
    /// Seconds to watch the settled cluster for.
    #[arg(long, default_value_t = 60)]
    pub idle_seconds: u64,
    /// At the end a zone goes dark and comes back.
    #[arg(long)]
    pub storm: bool,
    /// Seconds that each half may take at most.
    #[arg(long, default_value_t = 1_800)]
    pub limit_seconds: u64,
    /// The `skep` binary.
    #[arg(long, default_value = "target/release/skep")]
    pub skep: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
}

const NAME: &str = "scale";
/// Pods of one Deployment: a controller works on one at a time.
const PODS_EACH: i32 = 1_000;
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// Pause after a look that failed.
const PAUSE: Duration = Duration::from_secs(5);

/// Runs the bench.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut report = Report::new("hollow");
    let installation = Installation::up(&options.skep, &scratch.path().join("skep"))?;
    let hub = ClientConfig::from_kubeconfig(&scratch.path().join("skep/kubeconfig"), None)
        .await?
        .build("skep-bench")?;
    let own = installation.supervisor()?;
    // A large cluster with addresses for many nodes.
    let spec = json!({"size": {"class": "large"}, "network": {"podCidr": "10.128.0.0/10"}});
    let tenant = tenant::create(&hub, NAME, &spec).await?.client;
    settle().await;
    let before = Reading::take(own)?;

    let limit = Duration::from_secs(options.limit_seconds);
    let began = Instant::now();
    let pools: Api<NodePool> = Api::namespaced(hub.clone(), "default");
    pools.create(&PostParams::default(), &pool(options.nodes)?).await?;
    until("nodes to be ready", limit, || async {
        let status = pools.get(NAME).await?.status.unwrap_or_default();
        Ok((status.ready_replicas, options.nodes))
    })
    .await?;
    let nodes_ready = began.elapsed();
    let with_nodes = Reading::take(own)?;

    let began = Instant::now();
    let deployments: Api<Deployment> = Api::namespaced(tenant.clone(), "default");
    for object in workloads(options.pods)? {
        deployments.create(&PostParams::default(), &object).await?;
    }
    until("pods to be ready", limit, || async {
        let all = deployments.list(&ListParams::default()).await?;
        let ready =
            |one: &Deployment| one.status.as_ref().and_then(|status| status.ready_replicas).unwrap_or(0);
        Ok((all.iter().map(ready).sum(), options.pods))
    })
    .await?;
    let pods_ready = began.elapsed();
    settle().await;
    let with_pods = Reading::take(own)?;

    let all = nodes_ready + pods_ready;
    let (nodes, pods) = (options.nodes, options.pods);
    report.row(&format!("{nodes} nodes ready"), "s", Spread::seconds([nodes_ready]), 1, None);
    report.row(&format!("{pods} pods ready"), "s", Spread::seconds([pods_ready]), 1, None);
    let goal = (nodes >= 2_000 && pods >= 20_000).then(|| Goal::at_most(300.0, all.as_secs_f64(), "s"));
    report.row("nodes and pods ready", "s", Spread::seconds([all]), 1, goal);
    let per_node = (with_pods.pss - before.pss) * 1024.0 / f64::from(nodes);
    let goal = Goal::at_most(100.0, per_node, "KiB");
    report.row("our process, per node with its pods", "KiB PSS", Spread::of([per_node]), 1, Some(goal));
    let bare = (with_nodes.pss - before.pss) * 1024.0 / f64::from(nodes);
    report.row("our process, per node without pods", "KiB PSS", Spread::of([bare]), 1, None);
    let own_cpu = (with_pods.own - before.own).as_secs_f64();
    report.row("our process, until all was ready", "CPU s", Spread::of([own_cpu]), 1, None);
    let everything = with_pods.all.saturating_sub(before.all).as_secs_f64();
    report.row("everything, until all was ready", "CPU s", Spread::of([everything]), 1, None);

    tokio::time::sleep(Duration::from_secs(options.idle_seconds)).await;
    let after = Reading::take(own)?;
    let share = |cpu: Duration| cpu.as_secs_f64() / options.idle_seconds.max(1) as f64 * 100.0;
    let idle = share(after.own.saturating_sub(with_pods.own));
    report.row("our process, nothing happens", "% of a core", Spread::of([idle]), 1, None);
    let idle = share(after.all.saturating_sub(with_pods.all));
    report.row("everything, nothing happens", "% of a core", Spread::of([idle]), 1, None);
    for process in processes::tree(own).into_iter().filter(|process| process.pid != own) {
        if let Some(bytes) = process.pss() {
            let mib = bytes as f64 / f64::from(1 << 20);
            report.row(&process.program, "MiB PSS", Spread::of([mib]), 1, None);
        }
    }
    if options.storm {
        storm::run(&pools, &tenant, limit, &mut report).await?;
    }
    report.notes.push(
        "Our process is the whole installation: operator, gateway, the nodes of the control planes, and the hollow nodes."
            .to_owned(),
    );
    installation.down()?;
    report.finish(&options.results)
}

/// Memory of our process, CPU time of it and of everything.
struct Reading {
    /// MiB.
    pss: f64,
    own: Duration,
    all: Duration,
}

impl Reading {
    fn take(pid: u32) -> anyhow::Result<Self> {
        let process = processes::Process::read(pid).context("our process is gone")?;
        let pss = process.pss().context("cannot read the memory of our process")?;
        Ok(Self { pss: pss as f64 / f64::from(1 << 20), own: process.cpu, all: processes::cpu(pid) })
    }
}

fn pool(nodes: i32) -> anyhow::Result<NodePool> {
    Ok(serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "metadata": {"name": NAME},
        "spec": {"cluster": NAME, "replicas": nodes, "template": {"machineClass": "hollow-small"}},
    }))?)
}

fn workloads(pods: i32) -> anyhow::Result<Vec<Deployment>> {
    let one = |number: i32, replicas: i32| {
        let labels = json!({"app": format!("load-{number}")});
        serde_json::from_value(json!({
            "metadata": {"name": format!("load-{number}")},
            "spec": {
                "replicas": replicas, "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": [{
                    "name": "c", "image": "example.com/load:1", "readinessProbe": {"httpGet": {"port": 80}},
                    "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}},
                }]}},
            },
        }))
    };
    let starts = (0..pods).step_by(usize::try_from(PODS_EACH)?);
    Ok((0..)
        .zip(starts)
        .map(|(number, start)| one(number, PODS_EACH.min(pods - start)))
        .collect::<Result<_, _>>()?)
}

/// Looks until both numbers are equal, and says now and then how far it is.
async fn until<F>(what: &str, limit: Duration, mut look: impl FnMut() -> F) -> anyhow::Result<()>
where
    F: Future<Output = anyhow::Result<(i32, i32)>>,
{
    let began = Instant::now();
    let mut said = began;
    loop {
        let (there, wanted) = match look().await {
            Ok(seen) => seen,
            // An API server under such a load may break off, or be started again.
            Err(error) if began.elapsed() < limit => {
                eprintln!("{what}: {error}; tried again");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        if there >= wanted {
            eprintln!("{wanted} {what}: {:.1} s", began.elapsed().as_secs_f64());
            return Ok(());
        }
        anyhow::ensure!(began.elapsed() < limit, "{there} of {wanted} {what} after {} s", limit.as_secs());
        if said.elapsed() >= Duration::from_secs(10) {
            said = Instant::now();
            eprintln!("{there} of {wanted} {what}");
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Lets what was begun end, so that what follows is the resting state.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(15)).await;
}
