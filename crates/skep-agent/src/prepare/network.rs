//! Addresses and rules of the machine that do not change with the cluster's nodes.

use std::{process::Command, time::Duration};

use crate::{
    Error, Result, build,
    children::Children,
    config::{KubeProxyMode, PodNetwork},
    node::Node,
    preflight::find,
};

/// For one call of a program that talks to the kernel.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Modules that are loaded where they are not built in; what is missing shows where it is needed.
const MODULES: [&str; 3] = ["overlay", "br_netfilter", "nf_conntrack"];

/// Loads what the kernel keeps in modules, on machines that have such.
pub(crate) async fn load_modules(children: &Children) {
    let Some(modprobe) = find("modprobe") else { return };
    let mut command = Command::new(modprobe);
    command.args(["--all", "--quiet"]).args(MODULES);
    if let Err(error) = children.run(command, b"", PATIENCE).await {
        tracing::debug!(%error, "modprobe");
    }
}

/// The API server's address on this machine, and the translation of what leaves the cluster.
pub(super) async fn prepare(node: &Node) -> Result<()> {
    // With scope `host` it is never chosen as the source of a connection.
    let address = node.join.cluster.api_server_address;
    let batch = format!("link set lo up\naddress replace {address}/32 dev lo scope host\n");
    run(&node.children, "ip", &["-batch", "-"], &batch).await?;
    if node.join.cluster.pod_network != PodNetwork::None
        && let Err(error) = translate(node).await
    {
        // Inside the cluster everything works without it.
        tracing::warn!(%error, "pods cannot reach what is outside of the cluster");
    }
    Ok(())
}

async fn translate(node: &Node) -> Result<()> {
    let (pods, interface) = (node.checked.pods, &node.host.interface);
    if node.join.cluster.kube_proxy == KubeProxyMode::Nftables {
        return run(&node.children, "nft", &["-f", "-"], &build::nftables(pods, interface)).await;
    }
    let (chain, jump) = build::iptables(pods, interface);
    run(&node.children, "iptables-restore", &["--noflush", "--wait"], &chain).await?;
    let with = |action| {
        let start = ["--wait", "--table", "nat", action];
        start.into_iter().chain(jump.iter().map(String::as_str)).collect::<Vec<_>>()
    };
    match run(&node.children, "iptables", &with("--check"), "").await {
        Ok(()) => Ok(()),
        Err(_) => run(&node.children, "iptables", &with("--append"), "").await,
    }
}

async fn run(children: &Children, program: &str, arguments: &[&str], input: &str) -> Result<()> {
    let mut command = Command::new(find(program).unwrap_or_else(|| program.into()));
    command.args(arguments);
    let failed =
        |reason: String| Error::Network { what: format!("{program} {}", arguments.join(" ")), reason };
    let output =
        children.run(command, input.as_bytes(), PATIENCE).await.map_err(|error| failed(error.to_string()))?;
    output.success().map(drop).map_err(failed)
}
