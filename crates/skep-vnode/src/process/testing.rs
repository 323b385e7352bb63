//! What unit tests of this module share.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::backend::{PodContext, PodSources, ServiceAccountToken, SourceError, TokenRequest};

/// Objects in memory.
#[derive(Default)]
pub(crate) struct Objects {
    pub maps: Mutex<HashMap<String, BTreeMap<String, String>>>,
    pub secrets: Mutex<HashMap<String, BTreeMap<String, String>>>,
    pub claims: Mutex<HashMap<String, PathBuf>>,
}

impl Objects {
    pub(crate) fn map(&self, name: &str, data: &[(&str, &str)]) {
        let data = data.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        self.maps.lock().unwrap().insert(name.into(), data);
    }

    pub(crate) fn secret(&self, name: &str, data: &[(&str, &str)]) {
        let data = data.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
        self.secrets.lock().unwrap().insert(name.into(), data);
    }
}

#[async_trait]
impl PodSources for Objects {
    async fn config_map(&self, _: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError> {
        let data = self.maps.lock().unwrap().get(name).cloned();
        Ok(data.map(|data| Arc::new(ConfigMap { data: Some(data), ..ConfigMap::default() })))
    }

    async fn secret(&self, _: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError> {
        let data = self.secrets.lock().unwrap().get(name).cloned();
        let bytes = |data: BTreeMap<String, String>| {
            data.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect()
        };
        Ok(data.map(|data| Arc::new(Secret { data: Some(bytes(data)), ..Secret::default() })))
    }

    async fn claim(&self, _: &str, name: &str) -> Result<Option<PathBuf>, SourceError> {
        Ok(self.claims.lock().unwrap().get(name).cloned())
    }

    async fn token(&self, _: &Pod, request: &TokenRequest) -> Result<ServiceAccountToken, SourceError> {
        let lifetime = SignedDuration::try_from(request.lifetime).unwrap();
        Ok(ServiceAccountToken {
            token: format!("token for {}", request.audience.as_deref().unwrap_or("the API server")),
            expires: Timestamp::now() + lifetime,
        })
    }
}

/// A context with no objects, four CPUs and 8 GiB.
pub(crate) fn context() -> PodContext {
    context_with(Arc::new(Objects::default()))
}

/// A context with these objects.
pub(crate) fn context_with(sources: Arc<dyn PodSources>) -> PodContext {
    let allocatable = [("cpu", "4"), ("memory", "8Gi")].map(|(k, v)| (k.to_owned(), Quantity(v.to_owned())));
    PodContext {
        pod_ip: "127.64.128.5".parse().unwrap(),
        host_ip: "127.64.255.1".parse().unwrap(),
        allocatable: Arc::new(allocatable.into()),
        env: Arc::new([]),
        sources,
    }
}
