//! A machine that somebody brought, and whose node is deleted: nobody else ends what runs on it, so the agent does.
//!
//! Guarantees: a node is taken for deleted only when it was seen in its cluster before and the API server, whose certificate
//! is the cluster's, says that there is none of its name. An API server that is away, or a certificate that it does not take,
//! is no such word. A machine that has no certificate yet goes when the API server says again and again that it does not
//! know its token.

use std::{fs, io, path::Path, time::Duration};

use futures::StreamExt;
use kube::Api;
use skep_kubeops::{
    Cache,
    backoff::Backoff,
    watch::{Change, Select, changes},
};
use tokio::time::{sleep, timeout};

use crate::{Error, Result, files, identity, layout::Layout, node::Node, routes::NodeView, welcome};

mod mounts;
mod undo;

use undo::undo;

/// First and longest pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// What the start of an agent may wait for an answer. One that is given later is heard as well.
const ANSWER: Duration = Duration::from_secs(10);

/// Time between questions whether the token is good, and refusals in a row that are believed: an API server that has just
/// been started may not have read its tokens.
const ASKED: Duration = Duration::from_secs(10);
const REFUSALS: u32 = 3;

/// Waits until the machine has no place in the cluster any more; says why. Of other machines their infrastructure takes
/// care. Cancel safe.
pub(crate) async fn noticed(node: &Node) -> Error {
    if !node.host.brought {
        return std::future::pending().await;
    }
    tokio::select! {
        () = deleted(node) => removed(node),
        refusal = refused(node) => refusal,
    }
}

fn removed(node: &Node) -> Error {
    Error::Removed { node: node.join.node.clone(), cluster: node.join.cluster.host.clone() }
}

/// Waits until the cluster no longer knows the token that the kubelet needs for its first certificate.
async fn refused(node: &Node) -> Error {
    let mut refusals = 0;
    loop {
        sleep(ASKED).await;
        if node.layout.client_certificate().exists() {
            return std::future::pending().await;
        }
        match welcome(&node.join).await {
            Err(refusal @ Error::Unknown { .. }) => {
                refusals += 1;
                if refusals == REFUSALS {
                    return refusal;
                }
            }
            _ => refusals = 0,
        }
    }
}

/// Waits until the node has been deleted.
async fn deleted(node: &Node) {
    let mut backoff = Backoff::new(FIRST_PAUSE, LONGEST_PAUSE);
    loop {
        match with_one_certificate(node).await {
            Ok(true) => return,
            Ok(false) => backoff.reset(),
            Err(reason) => {
                tracing::warn!(reason, "the node's own Node cannot be followed");
                sleep(backoff.next_delay()).await;
            }
        }
    }
}

/// Whether the node was deleted while no agent ran here, as far as somebody answers.
pub(crate) async fn happened_before(node: &Node) -> Option<Error> {
    if !node.host.brought || !node.layout.joined().exists() || !node.layout.client_certificate().exists() {
        return None;
    }
    let look = async {
        let (client, _) = identity::client(node).await?;
        is_gone(&Api::all(client), node).await
    };
    matches!(timeout(ANSWER, look).await, Ok(Ok(true))).then(|| removed(node))
}

/// Follows with the certificate that the node has now: `true` when the node is gone, `false` when it has another one.
async fn with_one_certificate(node: &Node) -> Result<bool, String> {
    let (client, mut rotation) = identity::client(node).await?;
    let api = Api::<NodeView>::all(client.clone());
    let mut own = changes(client, Select::named(&node.join.node), Cache::<NodeView>::new());
    loop {
        let change = tokio::select! {
            change = own.next() => change.ok_or("the watch has ended")?,
            rotated = rotation.happens() => return rotated.map(|()| false).map_err(|error| error.to_string()),
        };
        let may_be_gone = match change {
            Change::Applied(_) => {
                remember(node).map_err(|error| error.to_string())?;
                false
            }
            Change::Deleted(_) | Change::Synced => node.layout.joined().exists(),
            Change::Undecodable(_) | Change::Interrupted(_) => false,
        };
        // What a watch tells may be old: a kubelet that was started again has registered once more.
        if may_be_gone && is_gone(&api, node).await? {
            return Ok(true);
        }
    }
}

/// The machine with this state was invited once more: that its node is not there is no reason to leave, until it has been
/// seen again.
///
/// # Errors
/// [`Error::File`].
pub fn invited_again(state: &Path) -> Result<()> {
    let joined = Layout::new(state).joined();
    match fs::remove_file(&joined) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("remove", joined)(error)),
        _ => Ok(()),
    }
}

fn remember(node: &Node) -> Result<()> {
    files::put(&node.layout.joined(), &node.join.cluster.host, files::OPEN).map(drop)
}

async fn is_gone(api: &Api<NodeView>, node: &Node) -> Result<bool, String> {
    let found = api.get_opt(&node.join.node).await;
    found.map(|found| found.is_none()).map_err(|error| skep_kubeops::error::describe(&error))
}

/// Takes back what was made of the machine.
///
/// # Errors
/// Always: why it leaves, or what is left when something could not be taken back.
pub(crate) async fn leave(node: &Node, why: Error) -> Result<()> {
    let (name, cluster) = (node.join.node.clone(), node.join.cluster.host.clone());
    tracing::warn!(node = name, cluster, code = %why.code(), "leaves the cluster; what was made of the machine goes");
    let left = undo(node).await;
    if left.is_empty() {
        return Err(why);
    }
    Err(Error::NotUndone { node: name, cluster, left: left.join("; ") })
}
