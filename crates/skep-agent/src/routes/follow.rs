//! Following the cluster's Nodes.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use skep_kubeops::{
    Cache,
    backoff::Backoff,
    watch::{Select, changes},
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep};
use tokio_util::sync::CancellationToken;

use super::{
    apply,
    desired::{Desired, Here, desired},
    view::NodeView,
};
use crate::{Error, Result, build, config::PodNetwork, files, identity, node::Node};

/// How often everything is compared again, also when no Node has changed: somebody else may have removed a route.
const RESYNC: Duration = Duration::from_secs(30);
/// First and longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Keeps routes and the configuration of the node's pods right until `end`, from the moment the node has joined.
pub(crate) async fn follow(node: Node, end: CancellationToken) {
    if node.join.cluster.pod_network == PodNetwork::None {
        return;
    }
    let forever = async {
        let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
        loop {
            match with_one_certificate(&node).await {
                Ok(()) => backoff.reset(),
                Err(error) => {
                    tracing::warn!(%error, "routes");
                    sleep(backoff.next_delay()).await;
                }
            }
        }
    };
    end.run_until_cancelled(forever).await;
}

/// Follows with the certificate that the node has now, until it has another one.
async fn with_one_certificate(node: &Node) -> Result<()> {
    let wrong = |reason: String| Error::Routes { reason };
    let (client, mut rotation) = identity::client(node).await.map_err(wrong)?;
    let cache = Cache::<NodeView>::new();
    let mut nodes = changes(client, Select::all(), cache.clone());
    let mut keeper = Keeper { node, applied: None };
    let mut resync = interval_at(Instant::now() + RESYNC, RESYNC);
    resync.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = nodes.next() => {
                // A burst is one change.
                while nodes.next().now_or_never().is_some() {}
            }
            _ = resync.tick() => keeper.applied = None,
            rotated = rotation.happens() => return rotated.map_err(|error| wrong(error.to_string())),
        }
        // Before everything is known, what is there may be right.
        if cache.is_synced() {
            keeper.bring(&cache).await;
        }
    }
}

struct Keeper<'a> {
    node: &'a Node,
    /// What was brought about last, unless it must be compared again.
    applied: Option<Desired>,
}

impl Keeper<'_> {
    async fn bring(&mut self, cache: &Cache<NodeView>) {
        let nodes = cache.list();
        let wanted = desired(here(self.node), nodes.iter().map(AsRef::as_ref));
        if self.applied.as_ref() == Some(&wanted) {
            return;
        }
        match self.apply(&wanted).await {
            Ok(()) => self.applied = Some(wanted),
            // Tried again with the next change, or when everything is compared again.
            Err(error) => tracing::warn!(%error, "routes"),
        }
    }

    async fn apply(&self, wanted: &Desired) -> Result<()> {
        let Node { layout, children, .. } = self.node;
        let mtu = apply::device(children, here(self.node)).await?;
        // First this: a route that cannot be set must not keep the node's own pods from starting.
        if let Some(own) = wanted.own
            && files::put(&layout.cni_config(), &build::conflist(layout, own, mtu), files::OPEN)?
        {
            tracing::info!(range = %own, "pods of this node");
        }
        apply::tables(children, here(self.node), wanted).await
    }
}

fn here(node: &Node) -> Here<'_> {
    Here {
        name: &node.join.node,
        address: node.host.address,
        interface: &node.host.interface,
        pods: node.checked.pods,
        network: node.join.cluster.pod_network,
    }
}
