//! A tenant store in memory, with failures on demand, for the tests of whoever uses [`TenantStore`].
//!
//! It behaves as etcd does where that matters: access before keys, keys stay when only the access is gone, and an
//! answer can be lost after the work was done.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use skep_api::TenantId;
use skep_api::control_plane::DatastoreRef;
use skep_pki::{Authority, KeyPair, Leaf};

use crate::{Error, Removal, Result, TenantAccess, TenantStore, Usage};

/// How one call is to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// etcd is not reached; nothing was done.
    Unavailable,
    /// Everything was done, but the answer is lost.
    AnswerLost,
    /// The datastore is not ready yet.
    NotReady,
    /// A removal stops in the middle: access gone, keys still there.
    Partial,
}

/// What the fake holds for one tenant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tenant {
    /// It has a user, a role and a permission.
    pub access: bool,
    /// Keys under its prefix.
    pub keys: u64,
}

#[derive(Default)]
struct State {
    tenants: BTreeMap<(String, TenantId), Tenant>,
    failures: VecDeque<Failure>,
    calls: Vec<String>,
}

/// The store. Cheap to clone; clones share their state.
#[derive(Clone)]
pub struct FakeTenants {
    state: Arc<Mutex<State>>,
    authority: Authority,
    now: Timestamp,
}

impl FakeTenants {
    /// An empty store whose certificates are issued at `now`.
    ///
    /// # Errors
    /// No key could be made.
    pub fn new(now: Timestamp) -> Result<Self, skep_pki::Error> {
        let authority =
            Authority::generate("fake-datastore-ca", Duration::from_secs(10 * 365 * 86_400), now)?;
        Ok(Self { state: Arc::default(), authority, now })
    }

    /// The next calls fail like this, in this order; then all succeed again.
    pub fn fail(&self, failures: impl IntoIterator<Item = Failure>) {
        self.lock().failures.extend(failures);
    }

    /// Puts keys under a tenant's prefix, as its API server would.
    pub fn write_keys(&self, datastore: &DatastoreRef, tenant: &TenantId, keys: u64) {
        self.lock().tenants.entry(key(datastore, tenant)).or_default().keys += keys;
    }

    /// What the store holds for a tenant; `None` when nothing is left of it.
    pub fn tenant(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Option<Tenant> {
        self.lock().tenants.get(&key(datastore, tenant)).cloned()
    }

    /// How many tenants it holds in all datastores.
    pub fn len(&self) -> usize {
        self.lock().tenants.len()
    }

    /// Does it hold no tenant?
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The calls so far, like `ensure demo-abcd2345`.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self, call: &str, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Option<Failure>> {
        let mut state = self.lock();
        state.calls.push(format!("{call} {tenant}"));
        let failure = state.failures.pop_front();
        match failure {
            Some(Failure::Unavailable) => Err(unavailable(datastore, "connection refused")),
            Some(Failure::NotReady) => Err(Error::DatastoreNotReady {
                datastore: name(datastore),
                waiting_for: "its first member".to_owned(),
            }),
            other => Ok(other),
        }
    }
}

#[async_trait]
impl TenantStore for FakeTenants {
    async fn ensure(
        &self,
        datastore: &DatastoreRef,
        tenant: &TenantId,
        certificate: Option<&KeyPair>,
    ) -> Result<TenantAccess> {
        let failure = self.begin("ensure", datastore, tenant)?;
        self.lock().tenants.entry(key(datastore, tenant)).or_default().access = true;
        if failure == Some(Failure::AnswerLost) {
            return Err(unavailable(datastore, "deadline exceeded"));
        }
        let leaf = Leaf::client(tenant.as_str(), Duration::from_secs(365 * 86_400));
        let client = self
            .authority
            .ensure(certificate, &leaf, self.now)
            .map_err(|source| Error::CertificateFailed { datastore: name(datastore), source })?;
        Ok(TenantAccess {
            endpoints: vec!["https://127.64.0.1:2379".to_owned()],
            prefix: tenant.key_prefix().trim_end_matches('/').to_owned(),
            server_ca_pem: self.authority.cert_pem().to_owned(),
            client,
        })
    }

    async fn remove(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Removal> {
        let failure = self.begin("remove", datastore, tenant)?;
        let mut state = self.lock();
        match failure {
            Some(Failure::Partial) => {
                if let Some(held) = state.tenants.get_mut(&key(datastore, tenant)) {
                    held.access = false;
                }
                Ok(Removal::Partial(0))
            }
            other => {
                state.tenants.remove(&key(datastore, tenant));
                match other {
                    Some(_) => Err(unavailable(datastore, "deadline exceeded")),
                    None => Ok(Removal::Done),
                }
            }
        }
    }

    async fn usage(&self, datastore: &DatastoreRef, tenant: &TenantId) -> Result<Usage> {
        let lost = self.begin("usage", datastore, tenant)?;
        match lost {
            Some(_) => Err(unavailable(datastore, "deadline exceeded")),
            None => Ok(Usage { keys: self.tenant(datastore, tenant).map_or(0, |held| held.keys) }),
        }
    }
}

fn key(datastore: &DatastoreRef, tenant: &TenantId) -> (String, TenantId) {
    (name(datastore), tenant.clone())
}

fn name(datastore: &DatastoreRef) -> String {
    format!("{}/{}", datastore.namespace, datastore.name)
}

fn unavailable(datastore: &DatastoreRef, reason: &str) -> Error {
    Error::DatastoreUnavailable { datastore: name(datastore), reason: reason.to_owned() }
}
