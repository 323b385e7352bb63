//! The routes as connections see them: who serves a host now, without a lock.
//!
//! One writer turns facts into routes ([`RouteTable`]) and publishes what changed; readers take a snapshot. A tenant's
//! pods are a snapshot of their own, so that a pod of one tenant costs nothing for the others, and the set of hosts is
//! copied only when a tenant comes or goes.

mod backend;
mod tenant;

pub use backend::{Backend, Lease};
pub use tenant::{Tenant, TenantStats};

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::Notify;

use crate::hello::ServerName;
use crate::routes::{RouteTable, Touched};

/// A source that was interrupted has told what it missed this long after it last said so: it tries again after at most
/// thirty seconds, and jitter.
const CAUGHT_UP: Duration = Duration::from_secs(120);

/// Tenants by host and by id.
#[derive(Clone, Debug, Default)]
struct Names {
    hosts: HashMap<Arc<str>, Arc<Tenant>>,
    ids: HashMap<Arc<str>, Arc<Tenant>>,
}

/// Bounds that every tenant gets.
#[derive(Clone, Copy, Debug)]
pub struct TenantBounds {
    /// Open connections.
    pub connections: usize,
    /// Of these, waiting for an API server.
    pub held: usize,
}

/// All tenants of a gateway.
#[derive(Debug)]
pub struct Directory {
    names: ArcSwap<Names>,
    table: Mutex<RouteTable>,
    bounds: TenantBounds,
    complete: AtomicBool,
    /// When changes were last known to be missed.
    interrupted: ArcSwapOption<Instant>,
    changed: Notify,
}

impl Directory {
    /// An empty directory that does not know yet whether it is complete.
    pub fn new(bounds: TenantBounds) -> Self {
        Self {
            names: ArcSwap::default(),
            table: Mutex::default(),
            bounds,
            complete: AtomicBool::new(false),
            interrupted: ArcSwapOption::empty(),
            changed: Notify::new(),
        }
    }

    /// Changes facts and publishes the routes they touch before it returns.
    pub fn update(&self, change: impl FnOnce(&mut RouteTable) -> Touched) {
        let mut table = self.lock();
        let touched = change(&mut table);
        let current = self.names.load();
        let mut next: Option<Names> = None;
        for host in touched {
            self.publish(&table, &host, &current, &mut next);
        }
        if let Some(next) = next {
            self.names.store(Arc::new(next));
            self.changed.notify_waiters();
        }
    }

    /// Publishes one host: existing tenants get their pods at once, comings and goings are collected in `next`.
    fn publish(&self, table: &RouteTable, host: &str, current: &Names, next: &mut Option<Names>) {
        for loser in table.losers(host) {
            tracing::warn!(
                host,
                namespace = loser.namespace,
                name = loser.name,
                "host belongs to an older control plane"
            );
        }
        let route = table.route(host);
        let known = current.hosts.get(host);
        if let (Some(route), Some(tenant)) = (&route, known)
            && tenant.id() == &*route.tenant
            && tenant.namespace() == &*route.namespace
        {
            tenant.update(&route.pods, self.is_current());
            return;
        }
        let names = next.get_or_insert_with(|| current.clone());
        if let Some(old) = known {
            tracing::info!(tenant = old.id(), host, "tenant removed");
            names.hosts.remove(host);
            if names.ids.get(old.id()).is_some_and(|named| Arc::ptr_eq(named, old)) {
                names.ids.remove(old.id());
            }
            old.retire();
        }
        if let Some(route) = route {
            tracing::info!(tenant = &*route.tenant, host, "tenant added");
            let tenant = Tenant::new(route.tenant.clone(), host.into(), route.namespace, self.bounds);
            let tenant = Arc::new(tenant);
            tenant.update(&route.pods, self.is_current());
            names.ids.insert(route.tenant, tenant.clone());
            names.hosts.insert(host.into(), tenant);
        }
    }

    /// The tenant with this host.
    pub fn by_host(&self, host: &ServerName) -> Option<Arc<Tenant>> {
        self.names.load().hosts.get(host.as_str()).cloned()
    }

    /// The tenant that a trusted proxy names: by its host or by its id.
    pub fn by_authority(&self, authority: &ServerName) -> Option<Arc<Tenant>> {
        let names = self.names.load();
        names.hosts.get(authority.as_str()).or_else(|| names.ids.get(authority.as_str())).cloned()
    }

    /// All tenants, in no order.
    pub fn tenants(&self) -> Vec<Arc<Tenant>> {
        self.names.load().ids.values().cloned().collect()
    }

    /// How many tenants there are.
    pub fn len(&self) -> usize {
        self.names.load().hosts.len()
    }

    /// Whether there is no tenant.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says that every tenant there is has been told: from now on an unknown host is refused at once.
    pub fn set_complete(&self) {
        self.complete.store(true, Ordering::Release);
        self.changed.notify_waiters();
    }

    /// Whether [`set_complete`](Self::set_complete) was called.
    pub fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// Says that changes may be missed now, and that those that come next may be old.
    pub(crate) fn set_interrupted(&self) {
        self.interrupted.store(Some(Arc::new(Instant::now())));
    }

    /// Whether changes come as they happen.
    fn is_current(&self) -> bool {
        self.interrupted.load().as_ref().is_none_or(|last| last.elapsed() > CAUGHT_UP)
    }

    /// Told whenever a tenant comes or goes, and when the directory becomes complete.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    fn lock(&self) -> MutexGuard<'_, RouteTable> {
        // A panic in the middle of a change leaves a table that is at worst stale for one host.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
