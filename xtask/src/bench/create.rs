//! `xtask bench create`: what a tenant cluster costs, against the same programs started by hand in the same run.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::future::try_join_all;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, api::PostParams, runtime::wait::delete::delete_and_finalize};
use skep_api::Cluster;
use skep_engine::{Artifact, ETCD, Engine, KUBERNETES};
use skep_kubeops::client::ClientConfig;

use super::{
    bare::{self, LIMIT},
    report::{Goal, Report, Spread},
};
use crate::{installation::Installation, processes};

/// What to measure and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Bare starts and single creates to measure.
    #[arg(long, default_value_t = 5)]
    pub runs: usize,
    /// Clusters to create at once.
    #[arg(long, default_value_t = 20)]
    pub many: usize,
    /// Seconds to watch the idle installation for.
    #[arg(long, default_value_t = 60)]
    pub idle_seconds: u64,
    /// The `skep` binary.
    #[arg(long, default_value = "target/release/skep")]
    pub skep: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
}

/// Runs the bench.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let mut report = Report::new("create");
    let bare = Bare::new(scratch.path()).await?;
    let bare_many = bare.starts(options.many).await?;
    let per_start = bare_many.cpu.as_secs_f64() / options.many.max(1) as f64;
    let title = |what: &str| format!("{} bare starts at once: {what}", options.many);
    report.row(&title("each"), "s", Spread::seconds(bare_many.walls.iter().copied()), options.many, None);
    report.row(&title("CPU each"), "CPU s", Spread::of([per_start]), 1, None);
    let watch = Duration::from_secs(options.idle_seconds);
    settle().await;
    let bare_idle = share(watch, || Ok(bare_many.cpu_now(&bare.etcd))).await? / options.many.max(1) as f64;
    drop(bare_many);
    let title = format!("{} bare control planes idle: all programs, each", options.many);
    report.row(&title, "% of a core", Spread::of([bare_idle]), 1, None);

    let installation = Installation::up(&options.skep, &scratch.path().join("skep"))?;
    let hub = ClientConfig::from_kubeconfig(&scratch.path().join("skep/kubeconfig"), None)
        .await?
        .build("skep-bench")?;
    let own = installation.supervisor()?;
    settle().await;
    let empty = pss(own)?;
    report.row(
        "our process, no tenant",
        "MiB PSS",
        Spread::of([empty]),
        1,
        Some(Goal::at_most(60.0, empty, "MiB")),
    );

    // In turns, so that both meet the machine in the same mood.
    let mut starts = Vec::new();
    let mut walls = Vec::new();
    let mut cpus = Vec::new();
    for run in 0..options.runs {
        starts.push(bare.start(run).await?);
        let name = format!("single-{run}");
        let before = processes::cpu(own);
        walls.push(create(&hub, &name).await?);
        cpus.push(processes::cpu(own).saturating_sub(before));
        delete(&hub, &name).await?;
    }
    let bare_wall = Spread::seconds(starts.iter().map(|start| start.wall));
    let bare_cpu = Spread::seconds(starts.iter().map(|start| start.cpu));
    let bare_pss = Spread::of(starts.iter().map(|start| mib(start.pss)));
    report.row("bare start: default ServiceAccount readable", "s", bare_wall, starts.len(), None);
    report.row("bare start: CPU", "CPU s", bare_cpu, starts.len(), None);
    report.row("bare start: memory", "MiB PSS", bare_pss, starts.len(), None);
    let wall = Spread::seconds(walls);
    let goal = Goal::at_most(1.25, wall.median / bare_wall.median, "x bare");
    report.row("create: default ServiceAccount readable", "s", wall, options.runs, Some(goal));
    let cpu = Spread::seconds(cpus);
    report.row("create: CPU of everything", "CPU s", cpu, options.runs, None);

    // What the first clusters leave for good, code that was read from the disk most of all, belongs to no tenant.
    settle().await;
    let rested = pss(own)?;
    let goal = Goal::at_most(60.0, rested, "MiB");
    report.row("our process, no tenant any more", "MiB PSS", Spread::of([rested]), 1, Some(goal));

    let before = processes::cpu(own);
    let begun = Instant::now();
    let names: Vec<String> = (0..options.many).map(|n| format!("many-{n}")).collect();
    let walls = try_join_all(names.iter().map(|name| create(&hub, name))).await?;
    let all = begun.elapsed();
    let each = processes::cpu(own).saturating_sub(before).as_secs_f64() / options.many.max(1) as f64;
    let title = format!("{} at once: each", options.many);
    report.row(&title, "s", Spread::seconds(walls), options.many, None);
    report.row(&format!("{} at once: all", options.many), "s", Spread::seconds([all]), 1, None);
    // Of as many bare starts at once: a control plane that is there runs on while the others still start.
    let goal = Goal::at_most(1.3, each / per_start, "x as many bare");
    report.row(&format!("{} at once: CPU each", options.many), "CPU s", Spread::of([each]), 1, Some(goal));
    let alone = each / bare_cpu.median;
    report.notes.push(format!(
        "{} at once need {alone:.2} times the CPU of one bare start alone, as many bare starts at once {:.2} times.",
        options.many,
        per_start / bare_cpu.median,
    ));

    settle().await;
    let per_tenant = (pss(own)? - rested) / options.many.max(1) as f64;
    let goal = Goal::at_most(0.3, per_tenant, "MiB");
    report.row("our process, per tenant", "MiB PSS", Spread::of([per_tenant]), 1, Some(goal));
    let (idle, all) = tokio::try_join!(
        share(watch, || processes::Process::read(own).map(|p| p.cpu).context("our process is gone")),
        share(watch, || Ok(processes::cpu(own)))
    )?;
    let goal = Goal::at_most(0.5, idle, "% of a core");
    report.row(
        &format!("our process idle, {} tenants", options.many),
        "% of a core",
        Spread::of([idle]),
        1,
        Some(goal),
    );
    let each = all / options.many.max(1) as f64;
    let title = format!("{} tenants idle: everything, each", options.many);
    report.row(&title, "% of a core", Spread::of([each]), 1, None);
    report.notes.push(format!(
        "Idle, everything there is for a tenant needs {:.2} times the CPU of a bare control plane.",
        each / bare_idle
    ));
    let parts = processes::tree(own).into_iter().filter(|p| p.pid != own);
    for (program, sizes) in by_program(parts) {
        let count = sizes.len();
        report.row(&format!("{program}, all running"), "MiB PSS", Spread::of(sizes), count, None);
    }
    report.notes.push(
        "CPU of everything counts the hub's own programs, the operator, the gateway and the virtual nodes as well."
            .to_owned(),
    );
    installation.down()?;
    report.finish(&options.results)
}

/// What bare starts need.
struct Bare {
    kube: Artifact,
    etcd: bare::Etcd,
    dir: PathBuf,
}

impl Bare {
    async fn new(scratch: &Path) -> anyhow::Result<Self> {
        let engine = Engine::from_env()?;
        let progress = skep_engine::Silent;
        let kube = engine.ensure(&format!("skep.dev/kube:{}", KUBERNETES[0]).parse()?, &progress).await?;
        let etcd = engine.ensure(&format!("skep.dev/etcd:{ETCD}").parse()?, &progress).await?;
        let etcd = bare::etcd(&etcd, &scratch.join("bare-etcd")).await?;
        Ok(Self { kube, etcd, dir: scratch.join("bare") })
    }

    async fn start(&self, run: usize) -> anyhow::Result<bare::Start> {
        bare::start(&self.kube, &self.etcd, &self.dir, &format!("bare-{run}")).await
    }

    async fn starts(&self, count: usize) -> anyhow::Result<bare::Starts> {
        bare::starts(&self.kube, &self.etcd, &self.dir, count).await
    }
}

/// Creates a cluster and waits, as a tenant would, until its default ServiceAccount answers through the gateway.
async fn create(hub: &kube::Client, name: &str) -> anyhow::Result<Duration> {
    let clusters: Api<Cluster> = Api::namespaced(hub.clone(), "default");
    let secrets: Api<Secret> = Api::namespaced(hub.clone(), "default");
    let begun = Instant::now();
    clusters.create(&PostParams::default(), &Cluster::new(name, Default::default())).await?;
    let value = |secret: &Secret| secret.data.as_ref().and_then(|data| data.get("value")).cloned();
    let secret =
        bare::appears(&secrets, &format!("{name}-kubeconfig"), |secret| value(secret).is_some()).await?;
    let kubeconfig = String::from_utf8(value(&secret).unwrap_or_default().0)?;
    let client = ClientConfig::from_yaml(&kubeconfig).await?.retries(0).build("skep-bench")?;
    bare::default_service_account(client).await.with_context(|| format!("cluster {name}"))?;
    Ok(begun.elapsed())
}

async fn delete(hub: &kube::Client, name: &str) -> anyhow::Result<()> {
    let clusters: Api<Cluster> = Api::namespaced(hub.clone(), "default");
    tokio::time::timeout(LIMIT, delete_and_finalize(clusters, name, &Default::default()))
        .await
        .with_context(|| format!("cluster {name} was not deleted in time"))??;
    Ok(())
}

/// Lets start-up work end, so that what follows is the resting state.
async fn settle() {
    tokio::time::sleep(Duration::from_secs(30)).await;
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn pss(pid: u32) -> anyhow::Result<f64> {
    let process = processes::Process::read(pid).context("our process is gone")?;
    Ok(mib(process.pss().context("cannot read the memory of our process")?))
}

/// How much of a core the time that `cpu` tells grows by while one watches, in percent.
async fn share(watch: Duration, cpu: impl Fn() -> anyhow::Result<Duration>) -> anyhow::Result<f64> {
    let before = cpu()?;
    tokio::time::sleep(watch).await;
    Ok(cpu()?.saturating_sub(before).as_secs_f64() / watch.as_secs_f64() * 100.0)
}

fn by_program(processes: impl Iterator<Item = processes::Process>) -> Vec<(String, Vec<f64>)> {
    let mut programs = std::collections::BTreeMap::<String, Vec<f64>>::new();
    for process in processes {
        if let Some(bytes) = process.pss() {
            programs.entry(process.program).or_default().push(mib(bytes));
        }
    }
    programs.into_iter().collect()
}
