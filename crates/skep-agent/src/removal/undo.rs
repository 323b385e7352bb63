//! Takes back what the agent and its programs have made of a machine that stays: pods first, then networks, mounts and
//! files. Every step may be repeated, and what fails does not keep the others from being done.

use std::{fs, io, path::Path, process::Command, time::Duration};

use tokio::time::timeout;

use super::mounts;
use crate::{
    build,
    config::{KubeProxyMode, PodNetwork},
    layout::{KUBELET, POD_LOGS},
    mounts::all,
    node::Node,
    preflight::find,
    programs, routes,
    service::{Service, remove_sandboxes},
};

/// For the runtime to start and to give back all pods.
const PODS: Duration = Duration::from_secs(180);
/// For one program; kube-proxy takes its time where the machine is busy.
const STEP: Duration = Duration::from_secs(60);
/// Groups of the kubelet's, where the node's cgroup is the machine's.
const PODS_GROUP: &str = "kubepods";

/// Takes everything back; gives what could not be, in words. The node's programs have been stopped.
pub(crate) async fn undo(node: &Node) -> Vec<String> {
    let mut left = Vec::new();
    let mut done = |what: &str, result: Result<(), String>| {
        if let Err(why) = result {
            tracing::warn!(what, why, "not taken back");
            left.push(format!("{what}: {why}"));
        }
    };
    done("pods", pods(node).await);
    done("rules of kube-proxy", kube_proxy(node).await);
    done("routes", routes::forget(&node.children).await.map_err(|error| error.to_string()));
    if node.join.cluster.pod_network != PodNetwork::None {
        done("the bridge of pods", bridge(node).await);
        done("the translation of pods' addresses", translation(node).await);
    }
    done("the API server's address", address(node).await);
    done("cgroups", groups(&node.host.cgroup_root).map_err(|error| error.to_string()));
    done("files", files(node).map_err(|error| error.to_string()));
    left
}

/// The runtime is started once more: it knows what belongs to each pod.
async fn pods(node: &Node) -> Result<(), String> {
    let runtime = Service::start(node.children.clone(), programs::containerd(node));
    let removed = timeout(PODS, async {
        runtime.ready().await;
        remove_sandboxes(&node.layout.socket()).await.map_err(|error| error.to_string())
    })
    .await;
    runtime.stop().await;
    removed.unwrap_or_else(|_| Err(format!("not in {} s", PODS.as_secs())))
}

async fn kube_proxy(node: &Node) -> Result<(), String> {
    let program = node.host.kubernetes.join("kube-proxy");
    let config = format!("--config={}", node.layout.kube_proxy_config().display());
    run(node, &program, &["--cleanup", &config]).await
}

async fn bridge(node: &Node) -> Result<(), String> {
    let ip = Path::new("ip");
    // Asked of the kernel: what is mounted at /sys may be of another network namespace.
    if run(node, ip, &["link", "show", "dev", build::BRIDGE]).await.is_err() {
        return Ok(());
    }
    run(node, ip, &["link", "delete", build::BRIDGE]).await
}

async fn translation(node: &Node) -> Result<(), String> {
    if node.join.cluster.kube_proxy == KubeProxyMode::Nftables {
        // Made first, so that there is one to delete.
        let table = build::TABLE;
        run(node, Path::new("nft"), &["add", "table", "ip", table]).await?;
        return run(node, Path::new("nft"), &["delete", "table", "ip", table]).await;
    }
    let (_, jump) = build::iptables(node.checked.pods, &node.host.interface);
    let with = |action: &'static str| {
        let start = ["--wait", "--table", "nat", action];
        start.into_iter().chain(jump.iter().map(String::as_str)).collect::<Vec<_>>()
    };
    let iptables = Path::new("iptables");
    if run(node, iptables, &with("--check")).await.is_err() {
        return Ok(());
    }
    run(node, iptables, &with("--delete")).await?;
    for action in ["--flush", "--delete-chain"] {
        run(node, iptables, &["--wait", "--table", "nat", action, build::CHAIN]).await?;
    }
    Ok(())
}

async fn address(node: &Node) -> Result<(), String> {
    let address = format!("{}/32", node.join.cluster.api_server_address);
    // The kernel refuses to delete what is not there.
    run(node, Path::new("ip"), &["address", "replace", &address, "dev", "lo", "scope", "host"]).await?;
    run(node, Path::new("ip"), &["address", "delete", &address, "dev", "lo"]).await
}

async fn run(node: &Node, program: &Path, arguments: &[&str]) -> Result<(), String> {
    let mut command = Command::new(program.to_str().and_then(find).unwrap_or_else(|| program.into()));
    command.args(arguments);
    let output = node.children.run(command, b"", STEP).await.map_err(|error| error.to_string())?;
    output.success().map(drop)
}

/// Groups of pods, in every hierarchy; nobody is in them any more.
fn groups(root: &str) -> io::Result<()> {
    let hierarchies = all()?.into_iter().filter(|mount| ["cgroup", "cgroup2"].contains(&mount.kind.as_str()));
    for hierarchy in hierarchies {
        remove_group(&hierarchy.at.join(root.trim_matches('/')).join(PODS_GROUP))?;
    }
    Ok(())
}

/// A group and those below it: the kernel removes one that has no children.
fn remove_group(group: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(group) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Only what is the node's: somebody else may have put something beside it.
fn files(node: &Node) -> io::Result<()> {
    let layout = &node.layout;
    let binds = [(KUBELET.into(), layout.kubelet()), (POD_LOGS.into(), layout.pod_logs())];
    mounts::clear(layout.state(), &binds)?;
    for path in layout.all() {
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
            }
            _ => {}
        }
    }
    for directory in [Path::new(KUBELET), Path::new(POD_LOGS), layout.state()] {
        // One that is not empty has something of somebody else.
        let _ = fs::remove_dir(directory);
    }
    Ok(())
}
