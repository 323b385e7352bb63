//! `xtask bench gateway`: the gateway against a direct connection and against haproxy, over loopback in one run; first
//! with a backend that does next to nothing, then with the API server of a tenant.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;
use k8s_openapi::{ByteString, api::core::v1::Pod};
use kube::core::ObjectList;
use serde_json::Value;
use skep_api::{Cluster, labels};

use crate::{installation::Installation, processes};

/// What to measure with.
#[derive(Clone, Debug, clap::Args)]
pub struct Options {
    /// Rounds per scenario; the median counts.
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// The `skep` binary.
    #[arg(long, default_value = "target/release/skep")]
    pub skep: PathBuf,
    /// Where the JSON goes.
    #[arg(long, default_value = "bench/results")]
    pub results: PathBuf,
}

const CLUSTER: &str = "bench";
/// A small object that every cluster has.
const PATH: &str = "/api/v1/namespaces/default";

/// Runs the bench.
pub fn run(options: &Options) -> anyhow::Result<()> {
    fs::create_dir_all(&options.results)?;
    println!("\nA backend that does next to nothing\n");
    measure(options, "gateway", &[])?;

    let scratch = tempfile::tempdir()?;
    let installation = Installation::up(&options.skep, &scratch.path().join("skep"))?;
    installation.skep(&["create", "cluster", CLUSTER])?;
    let server = ApiServer::find(&installation, scratch.path())?;
    println!("\nThe API server of a tenant\n");
    measure(options, "gateway-api-server", &server.arguments(scratch.path()))?;
    installation.down()
}

/// Runs the measuring program of `skep-gateway` once.
fn measure(options: &Options, name: &str, arguments: &[String]) -> anyhow::Result<()> {
    let json = std::path::absolute(options.results.join(format!("{name}.json")))?;
    let status = Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "skep-gateway",
            "--example",
            "bench_gateway",
            "--",
        ])
        .args(["--rounds", &options.rounds.to_string(), "--json"])
        .arg(&json)
        .args(arguments)
        .status()?;
    anyhow::ensure!(status.success(), "bench_gateway failed: {status}");
    println!("\nwritten to {}", json.display());
    Ok(())
}

/// How to reach a tenant's API server without a gateway.
struct ApiServer {
    address: SocketAddr,
    pid: u32,
    server_name: String,
}

impl ApiServer {
    /// Finds it and writes what a client needs to files in `dir`.
    fn find(installation: &Installation, dir: &Path) -> anyhow::Result<Self> {
        let cluster: Cluster =
            serde_json::from_str(&installation.output(&["get", "clusters", CLUSTER, "-o", "json"])?)?;
        let tenant =
            cluster.status.and_then(|status| status.tenant).context("the cluster names no tenant")?;
        let selector =
            format!("{}={tenant},{}={}", labels::TENANT, labels::COMPONENT, labels::component::API_SERVER);
        let list = installation.output(&["kubectl", "get", "pods", "-A", "-l", &selector, "-o", "json"])?;
        let pods: ObjectList<Pod> = serde_json::from_str(&list)?;
        let pod = pods.items.into_iter().next().context("the cluster has no API server")?;
        let port = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.ports.as_ref()?.first());
        let port = u16::try_from(port.context("it names no port")?.container_port)?;
        let ip = pod.status.and_then(|status| status.pod_ip).context("its pod has no address")?;
        let pid = processes::tree(installation.supervisor()?)
            .into_iter()
            .find(|process| process.arguments().iter().any(|argument| argument.ends_with(&format!("={ip}"))))
            .context("its process is not there")?
            .pid;

        let kubeconfig = dir.join("bench.kubeconfig");
        fs::write(&kubeconfig, installation.output(&["kubeconfig", CLUSTER])?)?;
        let kubeconfig = format!("--kubeconfig={}", kubeconfig.display());
        let view = installation.output(&["kubectl", &kubeconfig, "config", "view", "--raw", "-o", "json"])?;
        let view: Value = serde_json::from_str(&view)?;
        let field = |path: &str| view.pointer(path).with_context(|| format!("no {path} in the kubeconfig"));
        for (file, path) in [
            ("ca.pem", "/clusters/0/cluster/certificate-authority-data"),
            ("cert.pem", "/users/0/user/client-certificate-data"),
            ("key.pem", "/users/0/user/client-key-data"),
        ] {
            let bytes: ByteString = serde_json::from_value(field(path)?.clone())?;
            fs::write(dir.join(file), bytes.0)?;
        }
        let server =
            field("/clusters/0/cluster/tls-server-name").or_else(|_| field("/clusters/0/cluster/server"))?;
        let server = server.as_str().context("the server's name is no text")?;
        let name = server.trim_start_matches("https://").split([':', '/']).next().unwrap_or_default();
        Ok(Self { address: SocketAddr::new(ip.parse()?, port), pid, server_name: name.to_owned() })
    }

    fn arguments(&self, dir: &Path) -> Vec<String> {
        let file = |name: &str| dir.join(name).display().to_string();
        [
            ("--upstream", self.address.to_string()),
            ("--upstream-pid", self.pid.to_string()),
            ("--server-name", self.server_name.clone()),
            ("--ca", file("ca.pem")),
            ("--cert", file("cert.pem")),
            ("--key", file("key.pem")),
            ("--path", PATH.to_owned()),
        ]
        .into_iter()
        .flat_map(|(flag, value)| [flag.to_owned(), value])
        .collect()
    }
}
