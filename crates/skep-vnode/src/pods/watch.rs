//! Where a node's pods come from: one watch per node, or one for all nodes of a process.
//!
//! A list is framed by [`Change::Begin`] and [`Change::Listed`]: what was known and not named in between is gone.

use std::collections::HashMap;
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::strip;
use k8s_openapi::api::core::v1::PodStatus;

/// What the API server says about a node's pods.
#[derive(Debug, Clone)]
pub enum Change {
    /// A list begins.
    Begin,
    /// A pod as it is now.
    Apply {
        /// Without its status.
        pod: Arc<Pod>,
        /// Its status.
        status: Arc<PodStatus>,
    },
    /// A pod is gone; its last state.
    Delete {
        /// Without its status.
        pod: Arc<Pod>,
    },
    /// The list is complete.
    Listed,
}

/// Changes that wait for an agent. An agent that does not keep up makes the watch wait, which the API server bounds.
pub const QUEUE: usize = 256;

/// How pods are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PodWatch {
    /// Every node watches its own pods: right where others run nodes too.
    #[default]
    PerNode,
    /// One watch of all pods that have a node: cheapest where all nodes are in this process.
    Shared,
}

/// Watches and hands on until the receivers are gone. Errors are retried with back-off by the watch itself.
pub async fn run(client: Client, nodes: HashMap<String, mpsc::Sender<Change>>, how: PodWatch) {
    match how {
        PodWatch::Shared => feed(client, "spec.nodeName!=".to_owned(), nodes).await,
        PodWatch::PerNode => {
            let each = nodes.into_iter().map(|(name, sender)| {
                feed(client.clone(), format!("spec.nodeName={name}"), HashMap::from([(name, sender)]))
            });
            futures::future::join_all(each).await;
        }
    }
}

async fn feed(client: Client, fields: String, nodes: HashMap<String, mpsc::Sender<Change>>) {
    let config = watcher::Config::default().fields(&fields);
    let events = watcher(Api::<Pod>::all(client), config).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let sent = match event {
            Ok(Event::Init) => all(&nodes, &Change::Begin).await,
            Ok(Event::InitDone) => all(&nodes, &Change::Listed).await,
            Ok(Event::InitApply(pod) | Event::Apply(pod)) => one(&nodes, pod, false).await,
            Ok(Event::Delete(pod)) => one(&nodes, pod, true).await,
            Err(error) => {
                tracing::warn!(%error, "the watch of pods failed, it goes on by itself");
                true
            }
        };
        if !sent {
            return;
        }
    }
}

/// `false` when nobody listens any more.
async fn all(nodes: &HashMap<String, mpsc::Sender<Change>>, change: &Change) -> bool {
    for sender in nodes.values() {
        if sender.send(change.clone()).await.is_err() {
            return false;
        }
    }
    true
}

async fn one(nodes: &HashMap<String, mpsc::Sender<Change>>, pod: Pod, deleted: bool) -> bool {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
    let Some(sender) = nodes.get(node) else { return true };
    let (pod, status) = strip::split(pod);
    let change = if deleted { Change::Delete { pod } } else { Change::Apply { pod, status } };
    sender.send(change).await.is_ok()
}
