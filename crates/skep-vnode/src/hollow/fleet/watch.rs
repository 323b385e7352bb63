//! The two watches of a fleet.

use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Node;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client};

use crate::hollow::node::{DARK, HOLLOW};
use crate::hollow::seen::Seen;

/// What a watch brings. Errors are retried by the watch itself.
pub type Events<K> = BoxStream<'static, Result<Event<K>, watcher::Error>>;
/// A node as far as its name goes.
pub type Named = PartialObjectMeta<Node>;

/// Pods that have a node.
pub fn pods(client: &Client) -> Events<Seen> {
    let config = watcher::Config::default().fields("spec.nodeName!=");
    kept(watcher(Api::all(client.clone()), config))
}

/// Nodes that are told to be dark: usually none.
pub fn dark(client: &Client) -> Events<Named> {
    let config = watcher::Config::default().labels(&format!("{HOLLOW}={DARK}"));
    kept(watcher(Api::all(client.clone()), config))
}

fn kept<K: Send + 'static>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
) -> Events<K> {
    events.default_backoff().boxed()
}
