//! The tenant store on etcd.

use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use skep_api::TenantId;
use skep_api::control_plane::DatastoreRef;
use skep_pki::{KeyPair, Leaf};
use tokio::time::{Instant, timeout};

use crate::datastores::{Datastores, key};
use crate::{Error, Removal, Result, TenantAccess, TenantStore, Usage};

/// Time for one call of the store.
const DEADLINE: Duration = Duration::from_secs(20);
/// Time after which a removal deletes no further chunk, so that its answer comes before [`DEADLINE`].
const REMOVAL: Duration = Duration::from_secs(10);
/// Life of a tenant's client certificate; it is renewed after two thirds of it.
pub(crate) const CLIENT_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// Tenants in the etcd clusters of this cell.
#[derive(Clone)]
pub struct EtcdTenants {
    datastores: Datastores,
}

impl EtcdTenants {
    /// A store over these datastores; share them with the controller of this process.
    pub fn new(datastores: Datastores) -> Self {
        Self { datastores }
    }

    async fn within<T>(&self, datastore: &DatastoreRef, work: impl Future<Output = Result<T>>) -> Result<T> {
        match timeout(DEADLINE, work).await {
            Ok(done) => done,
            Err(_) => Err(Error::DatastoreUnavailable {
                datastore: key(datastore).to_string(),
                reason: format!("not done within {} s", DEADLINE.as_secs()),
            }),
        }
    }
}

#[async_trait]
impl TenantStore for EtcdTenants {
    async fn ensure(
        &self,
        datastore: &DatastoreRef,
        tenant: &TenantId,
        certificate: Option<&KeyPair>,
    ) -> Result<TenantAccess> {
        self.within(datastore, async {
            let opened = self.datastores.get(datastore).await?;
            if !opened.is_admitted(tenant) {
                let changed = opened
                    .connection
                    .admit(tenant)
                    .await
                    .map_err(|failure| self.datastores.failed(&opened.key, "let a tenant in", failure))?;
                opened.admitted(tenant);
                if changed {
                    // One more to count in the status.
                    self.datastores.trigger().one(opened.key.clone());
                }
            }
            let client = opened
                .material
                .client_authority
                .ensure(certificate, &Leaf::client(tenant.as_str(), CLIENT_LIFE), Timestamp::now())
                .map_err(|source| Error::CertificateFailed { datastore: opened.key.to_string(), source })?;
            Ok(TenantAccess {
                endpoints: opened.material.endpoints.clone(),
                prefix: tenant.key_prefix().trim_end_matches('/').to_owned(),
                server_ca_pem: opened.material.server_ca_pem.clone(),
                client,
            })
        })
        .await
    }

    async fn remove(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Removal> {
        self.within(datastore, async {
            let Some(opened) = self.datastores.find(datastore).await? else { return Ok(Removal::Done) };
            let failed = |action, failure| self.datastores.failed(&opened.key, action, failure);
            let deadline = Instant::now() + REMOVAL;
            opened.shut_out(tenant);
            // Access first: what is deleted afterwards cannot be written again.
            let shut_out = opened.connection.shut_out(tenant).await;
            shut_out.map_err(|f| failed("take a tenant's access away", f))?;
            let cleared = opened.connection.clear(tenant, deadline).await;
            let (deleted, all) = cleared.map_err(|f| failed("delete a tenant's keys", f))?;
            if !all {
                return Ok(Removal::Partial(deleted));
            }
            let forgotten = opened.connection.forget(tenant).await;
            forgotten.map_err(|f| failed("delete a tenant's role", f))?;
            self.datastores.trigger().one(opened.key.clone());
            Ok(Removal::Done)
        })
        .await
    }

    async fn usage(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Usage> {
        self.within(datastore, async {
            let opened = self.datastores.get(datastore).await?;
            let counted = opened.connection.count(tenant).await;
            let keys = counted
                .map_err(|failure| self.datastores.failed(&opened.key, "count a tenant's keys", failure))?;
            Ok(Usage { keys })
        })
        .await
    }
}
