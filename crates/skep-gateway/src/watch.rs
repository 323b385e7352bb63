//! Keeps the routes up to date from a cell's API.
//!
//! Only the few fields that decide about a route are decoded, and nothing is kept but facts. While the API cannot be
//! reached the last known routes stay; after a break the list replaces them as a whole. An object that cannot be decoded
//! leads nowhere and is logged; it never stops the watch.

mod facts;

use std::fmt::Debug;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{StreamExt, future::join};
use kube::Client;
use kube::api::{Api, ApiResource};
use kube::core::{DeserializeGuard, ObjectMeta, Resource};
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;
use skep_api::labels;

use crate::directory::Directory;
use crate::routes::{Key, RouteTable, Touched};
use crate::shared::Shared;

/// Seconds after which the API server is to end a watch: a path that is dead without a word is noticed that soon.
const WATCH_SECONDS: u32 = 240;

/// Watches for ever.
pub(crate) async fn run(client: Client, shared: &Shared) {
    let progress = Progress { directory: &shared.directory, missing: AtomicUsize::new(2) };
    let config = || watcher::Config::default().timeout(WATCH_SECONDS);
    let api_servers = format!("{}={}", labels::COMPONENT, labels::component::API_SERVER);
    let port = shared.config.backend_port;
    let control_planes = Kind {
        resource: ApiResource::erase::<skep_api::ControlPlane>(&()),
        fact: |plane, _| facts::control_plane(plane),
        port,
        apply: RouteTable::apply_control_plane,
        delete: RouteTable::delete_control_plane,
        reset: RouteTable::reset_control_planes,
    };
    let pods = Kind {
        resource: ApiResource::erase::<k8s_openapi::api::core::v1::Pod>(&()),
        fact: facts::pod,
        port,
        apply: RouteTable::apply_pod,
        delete: RouteTable::delete_pod,
        reset: RouteTable::reset_pods,
    };
    join(
        control_planes.follow(client.clone(), config(), &progress),
        pods.follow(client, config().labels(&api_servers), &progress),
    )
    .await;
}

/// How one kind of object becomes facts in the table.
struct Kind<K, F> {
    resource: ApiResource,
    /// Reads an object; the number is the port of pods that name none.
    fact: fn(&K, u16) -> Option<F>,
    port: u16,
    apply: fn(&mut RouteTable, F) -> Touched,
    delete: fn(&mut RouteTable, &Key) -> Touched,
    reset: fn(&mut RouteTable, Vec<F>) -> Touched,
}

/// Kinds whose first list has not arrived.
struct Progress<'a> {
    directory: &'a Directory,
    missing: AtomicUsize,
}

impl<K, F> Kind<K, F>
where
    K: Resource<DynamicType = ApiResource> + Clone + DeserializeOwned + Debug + Send + 'static,
{
    async fn follow(self, client: Client, config: watcher::Config, progress: &Progress<'_>) {
        let api = Api::<DeserializeGuard<K>>::all_with(client, &self.resource);
        let mut events = std::pin::pin!(watcher(api, config).default_backoff());
        let (mut listed, mut listed_once) = (Vec::new(), false);
        while let Some(event) = events.next().await {
            match event {
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitApply(object)) => listed.extend(self.read(object).ok()),
                Ok(Event::InitDone) => {
                    let all = std::mem::take(&mut listed);
                    progress.directory.update(|table| (self.reset)(table, all));
                    if !std::mem::replace(&mut listed_once, true) {
                        progress.one_listed();
                    }
                }
                Ok(Event::Apply(object)) => match self.read(object) {
                    Ok(fact) => progress.directory.update(|table| (self.apply)(table, fact)),
                    Err(key) => progress.directory.update(|table| (self.delete)(table, &key)),
                },
                Ok(Event::Delete(object)) => {
                    let key = key(object.meta());
                    progress.directory.update(|table| (self.delete)(table, &key));
                }
                Err(error) => {
                    progress.directory.set_interrupted();
                    tracing::warn!(kind = self.resource.kind, %error, "watch interrupted; the routes stay as they are");
                }
            }
        }
    }

    /// The fact an object states, or the key of an object that states none.
    fn read(&self, object: DeserializeGuard<K>) -> Result<F, Key> {
        let key = key(object.meta());
        let fact = match &object.0 {
            Ok(object) => (self.fact)(object, self.port),
            Err(error) => {
                let (kind, namespace, name) = (&self.resource.kind, &key.namespace, &key.name);
                tracing::warn!(kind, namespace, name, %error, "object cannot be read and leads nowhere");
                None
            }
        };
        fact.ok_or(key)
    }
}

impl Progress<'_> {
    fn one_listed(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            tracing::info!(tenants = self.directory.len(), "routes are complete");
            self.directory.set_complete();
        }
    }
}

fn key(meta: &ObjectMeta) -> Key {
    Key::new(meta.namespace.clone().unwrap_or_default(), meta.name.clone().unwrap_or_default())
}
