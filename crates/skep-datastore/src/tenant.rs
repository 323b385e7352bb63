//! What a control plane needs from its datastore, and nothing about how it is done.

use async_trait::async_trait;
use skep_api::TenantId;
use skep_api::control_plane::DatastoreRef;
use skep_pki::{Ensured, KeyPair};

use crate::Result;

/// Gives tenants a place in a datastore and takes it away again.
///
/// Every method is idempotent and may be repeated after a lost answer, a crash or a timeout at any point: a full
/// run reaches the same end from any state. Every method has a deadline of its own.
#[async_trait]
pub trait TenantStore: Send + Sync + 'static {
    /// Makes sure that the tenant can read and write the keys under its prefix, and no others.
    ///
    /// `certificate` is the client certificate the tenant has now, if any: it is kept while it is good, and issued
    /// again when it is missing, signed by another authority, or due for renewal.
    ///
    /// # Errors
    /// The datastore does not exist, is not ready, or etcd does not answer.
    async fn ensure(
        &self,
        datastore: &DatastoreRef,
        tenant: &TenantId,
        certificate: Option<&KeyPair>,
    ) -> Result<TenantAccess>;

    /// Takes the tenant's access away and then deletes all of its keys.
    ///
    /// Stop the tenant's API servers first; what they would still write is refused from the first step on. A
    /// datastore that is gone holds no keys: that is [`Removal::Done`].
    ///
    /// # Errors
    /// The datastore is not ready, or etcd does not answer.
    async fn remove(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Removal>;

    /// How much the tenant stores.
    ///
    /// # Errors
    /// The datastore does not exist, is not ready, or etcd does not answer.
    async fn usage(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Usage>;
}

/// How a tenant's API servers reach their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantAccess {
    /// Value of `--etcd-servers`, one URL per member.
    pub endpoints: Vec<String>,
    /// Value of `--etcd-prefix`: `/skep/<tenant>`, without a slash at its end.
    pub prefix: String,
    /// Content of `--etcd-cafile`: what the members' certificates are verified with. More than one certificate
    /// while the datastore's authority is being rotated.
    pub server_ca_pem: String,
    /// Content of `--etcd-certfile` and `--etcd-keyfile`, whether it was issued just now and why, and when it has
    /// to be looked at again.
    pub client: Ensured,
}

/// How far a removal got.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Nothing of the tenant is left.
    Done,
    /// The deadline came first; call again at once. Carries how many keys were deleted this time.
    Partial(u64),
}

/// What a tenant stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Usage {
    /// Keys under the tenant's prefix.
    pub keys: u64,
}
