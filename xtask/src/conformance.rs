//! `cargo xtask conformance`: upstream's own end-to-end suite is the judge of a tenant cluster.
//!
//! Guarantees: exactly the listed tests run, each is accounted for by name, and one that did not run counts as much as
//! one that failed. Tests that need a node are run like the others and shown with what really happened to them.

/// Sources of a Go module below `engine/`.
macro_rules! sources {
    ($module:literal: $($name:literal),+) => {
        vec![$(skep_engine::SourceFile {
            name: $name.to_owned(),
            content: std::borrow::Cow::Borrowed(
                include_bytes!(concat!("../../../engine/", $module, "/", $name)).as_slice(),
            ),
        }),+]
    };
}

mod binaries;
mod cluster;
mod images;
mod needs_node;
mod report;
mod run;
mod suite;
mod table;
mod verdict;
mod way;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use skep_api::KubeVersion;
use skep_kubeops::ClientConfig;

use suite::Suite;

/// What to run, and against which cluster.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Run only the tests that need no node.
    #[arg(long)]
    nodeless: bool,
    /// Run only the quick selection of them: under two minutes on two cores.
    #[arg(long, requires = "nodeless")]
    quick: bool,
    /// The kubeconfig of any cluster.
    #[arg(long, conflicts_with = "cluster")]
    kubeconfig: Option<PathBuf>,
    /// A cluster of the running installation, instead of one of two real nodes that is made for the tests and goes after
    /// them.
    #[arg(long)]
    cluster: Option<String>,
    /// Data directory of the installation; the user's default one when not set.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Kubernetes version of the cluster's control plane.
    #[arg(long, default_value = skep_engine::KUBERNETES[0])]
    version: String,
    /// Kubernetes version of its nodes; the control plane's when not set.
    #[arg(long)]
    node_version: Option<String>,
    /// Only the tests with this in their names.
    #[arg(long)]
    only: Option<String>,
    /// The `skep` binary.
    #[arg(long, default_value = "target/release/skep")]
    skep: PathBuf,
    /// Tests at once; 8 of all, 4 of the quick selection when not set.
    #[arg(long)]
    procs: Option<usize>,
    /// Where the table, the reports and the log go.
    #[arg(long, default_value_os_t = default_out())]
    out: PathBuf,
}

fn default_out() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    target.join("conformance")
}

/// Runs the suite against a cluster and prints what came of it.
///
/// # Errors
/// When a test failed or did not run that must pass, or when the suite could not be run at all.
pub async fn run(options: Options) -> anyhow::Result<()> {
    // Lives as long as the tests do.
    let scratch = tempfile::tempdir()?;
    let existing = match (&options.kubeconfig, &options.cluster) {
        (Some(path), _) => Some(path.clone()),
        (None, Some(cluster)) => Some(ask_skep(&options, cluster, scratch.path())?),
        (None, None) => None,
    };
    let version = match &existing {
        Some(kubeconfig) => version_of(kubeconfig).await?,
        None => options.version.parse()?,
    };
    let suite = match (options.nodeless, options.quick) {
        (true, true) => Suite::quick(),
        (true, false) => Suite::nodeless(),
        (false, _) => Suite::all(),
    };
    let mut suite = suite.of(&version);
    suite.procs = options.procs.unwrap_or(suite.procs);
    if let Some(only) = &options.only {
        suite.narrow(only)?;
    }
    let mut made = None;
    let kubeconfig = match existing {
        Some(kubeconfig) => kubeconfig,
        None => {
            made = Some(cluster::Cluster::make(&options, suite.nodes).await?);
            ask_skep(&options, cluster::NAME, scratch.path())?
        }
    };
    let verdict = judge(suite, &version, &kubeconfig, &options.out).await;
    if let Some(made) = made {
        made.delete()?;
    }
    verdict
}

/// Builds the suite, so that a later run begins with its tests.
pub async fn prepare() -> anyhow::Result<()> {
    binaries::ensure(&skep_engine::KUBERNETES[0].parse()?).await.map(drop)
}

/// An application for nodes to run, put where they pull from; gives its name.
pub async fn application(layout: &skep_engine::oci::Layout) -> anyhow::Result<String> {
    images::application(layout).await
}

/// The quick selection against a cluster, as `make demo` runs it.
///
/// # Errors
/// As [`run`].
pub async fn quick(kubeconfig: &Path) -> anyhow::Result<()> {
    let version = version_of(kubeconfig).await?;
    judge(Suite::quick().of(&version), &version, kubeconfig, &default_out()).await
}

/// What the cluster runs.
async fn version_of(kubeconfig: &Path) -> anyhow::Result<KubeVersion> {
    let client = ClientConfig::from_kubeconfig(kubeconfig, None).await?.build("xtask")?;
    let version = client.apiserver_version().await.context("the cluster does not answer")?;
    Ok(version.git_version.parse()?)
}

async fn judge(suite: Suite, version: &KubeVersion, kubeconfig: &Path, out: &Path) -> anyhow::Result<()> {
    let binaries = binaries::ensure(version).await?;
    let out = std::path::absolute(out)?;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    let scratch = tempfile::tempdir()?;
    let kubeconfig = std::path::absolute(kubeconfig)?;
    let way = way::Way::open(&kubeconfig, &binaries.kubectl, scratch.path()).await?;
    let run = run::Run { suite: &suite, binaries: &binaries, way: &way, out: &out };
    let wall = run.execute().await?;
    let report = report::Report::read(&out.join(run::JSON))?;
    let verdict = verdict::Verdict::new(
        &suite,
        &report,
        if suite.nodes { BTreeMap::new() } else { needs_node::list() },
    );
    let table = table::render(&suite, version, &verdict, wall);
    std::fs::write(out.join("table.md"), &table)?;
    println!("\n{table}\nAll of it, the log and junit.xml: {}", out.display());
    verdict.result()
}

fn ask_skep(options: &Options, cluster: &str, scratch: &Path) -> anyhow::Result<PathBuf> {
    let mut command = Command::new(&options.skep);
    command.args(["kubeconfig", cluster]);
    if let Some(dir) = &options.data_dir {
        command.env("SKEP_DATA_DIR", dir);
    }
    let output = command.output().with_context(|| {
        format!("cannot run {}; build it, or name it with --skep", options.skep.display())
    })?;
    anyhow::ensure!(
        output.status.success(),
        "skep kubeconfig {cluster}: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    let path = scratch.join("kubeconfig");
    std::fs::write(&path, output.stdout)?;
    Ok(path)
}
