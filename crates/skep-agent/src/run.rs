//! The agent's life.

use std::net::SocketAddrV4;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Error, Result,
    children::Children,
    config::{Host, Join},
    endpoint::{self, Endpoint},
    logs,
    node::Node,
    preflight::preflight,
    prepare::{self, Lock},
    programs::Programs,
    removal, routes, tunnel,
};

/// Makes this machine a node of the cluster and keeps it one until `shutdown`; then stops its programs in order. Pods go on,
/// unless the agent is the first process of a pid namespace: they end with it.
///
/// Must run as root, in a process that starts no children by itself, on a Tokio runtime with its signal driver. The
/// umask and the limit of open files of the process change.
///
/// On a machine that somebody brought it ends when its node is deleted from the cluster, or when the cluster does not know
/// its token, and takes back what it has made.
///
/// # Errors
/// Why the machine cannot be a node, or is none any more ([`Error::Removed`], [`Error::Unknown`]). Everything that goes wrong after the programs
/// have been started is tried again and logged.
pub async fn run(join: Join, host: Host, shutdown: CancellationToken) -> Result<()> {
    let checked = preflight(&join, &host)?;
    let _lock = Lock::take(&host.state)?;
    let children = Children::new().map_err(|source| Error::Start { program: "children".into(), source })?;
    if std::process::id() != 1 {
        prepare::load_modules(&children).await;
    }
    let node = Node::new(join, host, checked, children)?;
    tracing::info!(
        node = node.join.node,
        cluster = node.join.cluster.host,
        isolated = node.facts.isolated,
        "preparing"
    );
    prepare::prepare(&node).await?;
    if let Some(why) = removal::happened_before(&node).await {
        return removal::leave(&node, why).await;
    }

    let (end, tasks) = (CancellationToken::new(), TaskTracker::new());
    let address = SocketAddrV4::new(node.join.cluster.api_server_address, endpoint::PORT);
    let endpoint = Endpoint::bind(address, &node.checked.gateway, &node.join.cluster.host).await?;
    tasks.spawn(endpoint.run(end.clone()));
    tasks.spawn(logs::keep_bounded(node.layout.logs(), end.clone()));
    tasks.spawn(routes::follow(node.clone(), end.clone()));
    let certificate = node.layout.client_certificate();
    let tunnel = tunnel::Settings::new(
        &node.join.cluster,
        &node.join.node,
        vec![node.host.address.into()],
        certificate,
    );
    tasks.spawn(tunnel::serve(tunnel, end.clone()));

    let mut programs = Programs::default();
    let until_told = async {
        let started = shutdown.run_until_cancelled(programs.start(&node)).await;
        if let Some(Ok(())) = started {
            shutdown.cancelled().await;
        }
        started.unwrap_or(Ok(()))
    };
    let (ended, leaves) = tokio::select! {
        ended = until_told => (ended, None),
        why = removal::noticed(&node) => (Ok(()), Some(why)),
    };
    tracing::info!("stopping");
    programs.stop().await;
    end.cancel();
    tasks.close();
    tasks.wait().await;
    match leaves {
        Some(why) => removal::leave(&node, why).await,
        None => ended,
    }
}
