//! Where a backend gets what a pod refers to: from the API server, each call with a deadline, nothing kept but tokens.

mod claims;
mod tokens;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use super::references::{Kind, ObjectKey, ReferenceIndex};
use crate::backend::{PodSources, PodUid, ServiceAccountToken, SourceError, TokenRequest};
use tokens::TokenCache;

/// An answer takes milliseconds; a server that needs longer is asked again by the backend's own retry.
const DEADLINE: Duration = Duration::from_secs(10);

/// Objects asked for at once: when many pods start together, each of these is a connection.
const CONCURRENT: usize = 6;

/// The part that all nodes of a process share.
pub struct ApiSources {
    client: Client,
    index: Arc<ReferenceIndex>,
    tokens: TokenCache,
    places: Semaphore,
}

impl ApiSources {
    /// Fetches with `client` and notes in `index` what was read.
    #[must_use]
    pub fn new(client: Client, index: Arc<ReferenceIndex>) -> Arc<Self> {
        Arc::new(Self { client, index, tokens: TokenCache::default(), places: Semaphore::new(CONCURRENT) })
    }

    /// Forgets the tokens of a pod that is gone.
    pub fn forget(&self, uid: &PodUid) {
        self.tokens.forget(uid);
    }

    async fn object<K>(&self, kind: Kind, namespace: &str, name: &str) -> Result<Option<Arc<K>>, SourceError>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned,
    {
        let api = Api::<K>::namespaced(self.client.clone(), namespace);
        let _place = self.places.acquire().await;
        let found = bounded(&format!("{} {namespace}/{name}", K::kind(&())), api.get_opt(name)).await?;
        let version = found.as_ref().and_then(|object| object.meta().resource_version.as_deref());
        let key = ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() };
        self.index.loaded(&key, version);
        Ok(found.map(Arc::new))
    }
}

/// The sources of one node's pods.
pub struct NodeSources {
    shared: Arc<ApiSources>,
    node: String,
    labels: Arc<BTreeMap<String, String>>,
}

impl NodeSources {
    /// For the node of this name and these labels, which decide what volumes it can use.
    #[must_use]
    pub fn new(shared: Arc<ApiSources>, node: String, labels: Arc<BTreeMap<String, String>>) -> Self {
        Self { shared, node, labels }
    }
}

#[async_trait]
impl PodSources for NodeSources {
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError> {
        self.shared.object(Kind::ConfigMap, namespace, name).await
    }

    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError> {
        self.shared.object(Kind::Secret, namespace, name).await
    }

    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PathBuf>, SourceError> {
        let _place = self.shared.places.acquire().await;
        claims::directory(&self.shared.client, namespace, name, &self.node, &self.labels).await
    }

    async fn token(&self, pod: &Pod, request: &TokenRequest) -> Result<ServiceAccountToken, SourceError> {
        let _place = self.shared.places.acquire().await;
        self.shared.tokens.get(&self.shared.client, pod, request).await
    }
}

/// Runs a call to the API server with the deadline and turns its failure into text for people.
async fn bounded<T>(what: &str, call: impl Future<Output = kube::Result<T>>) -> Result<T, SourceError> {
    match tokio::time::timeout(DEADLINE, call).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(kube::Error::Api(status))) if status.is_forbidden() => {
            Err(SourceError::Refused(format!("{what}: {}", status.message)))
        }
        Ok(Err(error)) => Err(SourceError::Unavailable(format!("{what}: {}", text(&error)))),
        Err(_) => Err(SourceError::Unavailable(format!(
            "{what}: the API server did not answer in {} s",
            DEADLINE.as_secs()
        ))),
    }
}

/// What an API error says, without the debug form of a whole status.
pub(crate) fn text(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) => status.message.clone(),
        other => other.to_string(),
    }
}
