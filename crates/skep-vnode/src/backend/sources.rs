//! What a pod refers to and the node half must fetch: secrets, configMaps, claims, tokens.
//!
//! A backend asks when it needs something and keeps nothing, so memory per pod stays small and a container that
//! restarts gets today's values. The node half decides what it caches.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};

/// Why an object could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The API server could not be asked now; try again.
    #[error("{0}")]
    Unavailable(String),
    /// It will not work as it is: forbidden, claim not bound to this node. The message says what to do.
    #[error("{0}")]
    Refused(String),
}

/// Which token a projected volume wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Who will read the token; none for the API server itself.
    pub audience: Option<String>,
    /// How long it should live.
    pub lifetime: Duration,
}

/// A token. Never printed.
#[derive(Clone)]
pub struct ServiceAccountToken {
    /// The secret text.
    pub token: String,
    /// When it stops working. It is asked for anew after four fifths of its life.
    pub expires: Timestamp,
}

impl std::fmt::Debug for ServiceAccountToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServiceAccountToken").field("expires", &self.expires).finish_non_exhaustive()
    }
}

/// Fetches what pods refer to. Every call must end by itself (deadline inside); the backend adds one more.
#[async_trait]
pub trait PodSources: Send + Sync + 'static {
    /// A configMap; `None` when it does not exist.
    async fn config_map(&self, namespace: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError>;

    /// A secret; `None` when it does not exist.
    async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError>;

    /// The directory on this machine behind a PersistentVolumeClaim; `None` when the claim does not exist.
    async fn claim(&self, namespace: &str, name: &str) -> Result<Option<PathBuf>, SourceError>;

    /// A token of the pod's service account, bound to the pod.
    async fn token(&self, pod: &Pod, request: &TokenRequest) -> Result<ServiceAccountToken, SourceError>;
}
