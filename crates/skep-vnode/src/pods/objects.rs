//! Watches the metadata of secrets and configMaps and tells the pods that use a changed one.
//!
//! One watch per kind for the whole process, of metadata only and without a store: an object nobody here uses costs a
//! look-up. The changed object itself is read by whoever has to write it to a file.

use std::fmt::Debug;
use std::sync::Arc;

use futures::{StreamExt, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::references::{Kind, ObjectKey, ReferenceIndex, User};

/// Pods whose objects changed, to be told to their agents.
pub const QUEUE: usize = 256;

/// Watches until nobody listens.
pub async fn run(client: Client, index: Arc<ReferenceIndex>, changed: mpsc::Sender<User>) {
    tokio::join!(
        follow::<Secret>(client.clone(), Kind::Secret, index.clone(), changed.clone()),
        follow::<ConfigMap>(client, Kind::ConfigMap, index, changed),
    );
}

async fn follow<K>(client: Client, kind: Kind, index: Arc<ReferenceIndex>, changed: mpsc::Sender<User>)
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let api = Api::<PartialObjectMeta<K>>::all(client);
    let events = watcher(api, watcher::Config::default()).default_backoff();
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let (object, exists) = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => (object, true),
            Ok(Event::Delete(object)) => (object, false),
            Ok(Event::Init | Event::InitDone) => continue,
            Err(error) => {
                tracing::warn!(%error, ?kind, "a watch failed, it goes on by itself");
                continue;
            }
        };
        let (Some(namespace), Some(name)) = (object.metadata.namespace, object.metadata.name) else {
            continue;
        };
        let key = ObjectKey { kind, namespace, name };
        let version = object.metadata.resource_version.filter(|_| exists);
        for user in index.affected(&key, version.as_deref()) {
            if changed.send(user).await.is_err() {
                return;
            }
        }
    }
}
