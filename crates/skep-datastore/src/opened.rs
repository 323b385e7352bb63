//! One open datastore: its connection, and which tenants were let in a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use skep_api::TenantId;
use skep_kubeops::Key;
use tokio::time::Instant;

use crate::datastores::Material;
use crate::etcd::Connection;

/// How long a tenant's user and role, once seen to be right, are not looked at again. A control plane is reconciled
/// many times while it starts, and each look is a write in etcd's log.
const ADMITTED: Duration = Duration::from_secs(60);
/// Tenants remembered; a datastore takes at most 10,000.
const REMEMBERED: usize = 10_000;

/// A datastore that can be talked to.
pub(crate) struct Opened {
    pub key: Key,
    pub material: Material,
    pub connection: Connection,
    admitted: Mutex<HashMap<TenantId, Instant>>,
}

impl Opened {
    pub(crate) fn new(key: Key, material: Material, connection: Connection) -> Self {
        Self { key, material, connection, admitted: Mutex::default() }
    }

    /// Was the tenant's access seen to be right a moment ago?
    pub(crate) fn is_admitted(&self, tenant: &TenantId) -> bool {
        self.lock().get(tenant).is_some_and(|at| at.elapsed() < ADMITTED)
    }

    /// Remembers that the tenant's access is right.
    pub(crate) fn admitted(&self, tenant: &TenantId) {
        let mut admitted = self.lock();
        if admitted.len() >= REMEMBERED {
            admitted.retain(|_, at| at.elapsed() < ADMITTED);
        }
        if admitted.len() < REMEMBERED {
            admitted.insert(tenant.clone(), Instant::now());
        }
    }

    /// Forgets that the tenant's access is right.
    pub(crate) fn shut_out(&self, tenant: &TenantId) {
        self.lock().remove(tenant);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TenantId, Instant>> {
        self.admitted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
