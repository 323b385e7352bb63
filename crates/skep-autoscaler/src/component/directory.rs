//! Who is served: tenants that asked for it, by the name in the certificate they were given.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use http::Request;
use hyper::body::Incoming;
use rustls::pki_types::CertificateDer;
use skep_kubeops::Key;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

use crate::proto::{expander, provider};
use crate::rpc::{Body, Rpc, Service};
use crate::server::CONNECTIONS;
use crate::{Error, Expander, Hub, Provider};

/// Characters of a stranger's name that are repeated.
const NAME: usize = 64;

/// All tenants that are served. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub(crate) struct Directory(Arc<RwLock<HashMap<String, Entry>>>);

struct Entry {
    cluster: Key,
    hub: Hub,
    room: Arc<Semaphore>,
    over: CancellationToken,
}

/// What one connection of a tenant is answered by. It gives its place back when the last clone goes.
#[derive(Clone)]
pub(crate) struct Served {
    tenant: Arc<str>,
    provider: Provider,
    expander: Expander,
    over: CancellationToken,
    _place: Arc<OwnedSemaphorePermit>,
}

impl Directory {
    /// Serves a tenant from now on.
    pub(super) fn put(&self, tenant: &str, cluster: &Key, hub: impl FnOnce() -> Hub) {
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if all.get(tenant).is_none_or(|entry| entry.cluster != *cluster) {
            let (room, over) = (Arc::new(Semaphore::new(CONNECTIONS)), CancellationToken::new());
            let before =
                all.insert(tenant.to_owned(), Entry { cluster: cluster.clone(), hub: hub(), room, over });
            before.iter().for_each(|entry| entry.over.cancel());
        }
    }

    /// Calls of this cluster are refused from now on, over whichever connection they come.
    pub(super) fn forget(&self, cluster: &Key) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).retain(|_, entry| {
            let stays = entry.cluster != *cluster;
            if !stays {
                entry.over.cancel();
            }
            stays
        });
    }

    /// What the holder of a certificate is answered by.
    ///
    /// # Errors
    /// The name in it is nobody's, or has too many connections.
    pub(super) fn admit(
        &self,
        shown: Option<&CertificateDer<'_>>,
        expander: &Expander,
    ) -> Result<Served, Error> {
        let tenant = shown.and_then(name_in).unwrap_or_default();
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = all.get(&tenant) else {
            return Err(stranger(&tenant));
        };
        let Ok(place) = Arc::clone(&entry.room).try_acquire_owned() else {
            return Err(Error::TooManyConnections { tenant, most: CONNECTIONS });
        };
        Ok(Served {
            tenant: tenant.into(),
            over: entry.over.clone(),
            provider: Provider::new(entry.hub.clone()),
            expander: expander.over(entry.hub.clone()),
            _place: Arc::new(place),
        })
    }
}

fn stranger(name: &str) -> Error {
    Error::Stranger { client: name.chars().take(NAME).collect() }
}

/// The common name in a certificate that has been verified.
fn name_in(certificate: &CertificateDer<'_>) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let mut names = certificate.subject().iter_common_name();
    names.next()?.as_str().ok().map(str::to_owned)
}

impl Rpc for Served {
    const SERVICES: &'static [Service] =
        &[(provider::SERVICE, &provider::METHODS), (expander::SERVICE, &expander::METHODS)];

    async fn call(&self, method: &str, request: Request<Incoming>) -> http::Response<Body> {
        if self.over.is_cancelled() {
            return tonic::Status::from(stranger(&self.tenant)).into_http();
        }
        if expander::METHODS.contains(&method) {
            self.expander.call(method, request).await
        } else {
            self.provider.call(method, request).await
        }
    }
}
