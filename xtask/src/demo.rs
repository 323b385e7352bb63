//! `make demo`: the main job of the product from beginning to end, with the time each step took and the memory of every
//! process at the end. The installation goes on running, so that whoever tried it can go on.

mod nodes;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;

use crate::{conformance, engine, installation::Installation, processes};

/// What the demo runs with.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// The `skep` binary.
    #[arg(long, default_value = "target/release/skep")]
    pub skep: PathBuf,
    /// Data directory of the installation; the user's default one when not set.
    #[arg(long)]
    pub data_dir: Option<PathBuf>,
}

const CLUSTER: &str = "demo";

/// Runs the demo.
pub async fn run(options: &Options) -> anyhow::Result<()> {
    let mut steps = Steps::default();
    println!("== upstream's programs and tests");
    let began = Instant::now();
    engine::make(&[skep_engine::etcd_image(), skep_engine::kubernetes_image(skep_engine::KUBERNETES[0])?])
        .await?;
    conformance::prepare().await?;
    steps.add("upstream's programs and tests, from the cache or built", began.elapsed());
    let installation = steps
        .take("hub and first cell", || Installation::attach(&options.skep, options.data_dir.as_deref()))?;
    if installation.has_cluster(CLUSTER)? {
        steps.take("cluster of an earlier demo deleted", || {
            installation.skep(&["delete", "cluster", CLUSTER])
        })?;
    }
    steps.take("tenant cluster created", || installation.skep(&["create", "cluster", CLUSTER]))?;
    let kubeconfig = tempfile::NamedTempFile::new()?;
    std::fs::write(kubeconfig.path(), installation.output(&["kubeconfig", CLUSTER])?)?;
    let kubectl = installation.kubectl()?;
    let tenant = nodes::Tenant { kubectl: &kubectl, kubeconfig: kubeconfig.path() };
    steps.take("kubectl, through the gateway", || {
        for args in [&["version"][..], &["get", "namespaces"], &["get", "--raw", "/readyz"]] {
            tenant.run(args)?;
        }
        println!();
        Ok(())
    })?;
    println!("== upstream's own tests, a quick selection");
    let began = Instant::now();
    let verdict = conformance::quick(kubeconfig.path()).await;
    steps.add("upstream's own tests, a quick selection", began.elapsed());

    if nix::unistd::geteuid().is_root() {
        nodes::real(&mut steps, &installation, &tenant).await?;
    } else {
        nodes::hollow(&mut steps, &installation, &tenant)?;
    }

    println!("\nWhat ran\n");
    steps.print();
    println!("\nMemory (PSS)\n");
    memory(installation.supervisor()?);
    verdict?;
    println!("\nIt goes on running. Next:");
    for (command, what) in [
        ("use demo", "point kubectl at the tenant cluster"),
        ("get clusters", "see what there is"),
        ("down", "stop everything; `up` resumes it"),
    ] {
        println!("  {} {command:<14} # {what}", options.skep.display());
    }
    Ok(())
}

/// Steps with the time each took.
#[derive(Default)]
struct Steps(Vec<(String, Duration)>);

impl Steps {
    fn take<T>(&mut self, what: &str, step: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
        println!("== {what}");
        let begun = Instant::now();
        let done = step().with_context(|| what.to_owned())?;
        self.add(what, begun.elapsed());
        Ok(done)
    }

    fn add(&mut self, what: &str, time: Duration) {
        self.0.push((what.to_owned(), time));
    }

    fn print(&self) {
        println!("| step | seconds |");
        println!("|---|---:|");
        for (what, time) in &self.0 {
            println!("| {what} | {:.1} |", time.as_secs_f64());
        }
    }
}

fn memory(supervisor: u32) {
    println!("| process | pid | MiB |");
    println!("|---|---:|---:|");
    let mut sum = 0.0;
    for process in processes::tree(supervisor) {
        if let Some(bytes) = process.pss() {
            let mib = bytes as f64 / f64::from(1 << 20);
            sum += mib;
            println!("| {} | {} | {mib:.1} |", process.program, process.pid);
        }
    }
    println!("| all | | {sum:.1} |");
}
