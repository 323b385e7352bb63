//! One tenant: its API servers, its bounds and its counts.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use arc_swap::ArcSwap;
use tokio::sync::Notify;

use super::{Backend, Lease, TenantBounds};
use crate::closing::Sight;
use crate::config;
use crate::limits::Gate;
use crate::node_tunnel::TenantTunnel;
use crate::rejection::Rejection;
use crate::routes::RoutePod;

/// A host that the gateway serves.
#[derive(Debug)]
pub struct Tenant {
    id: Arc<str>,
    host: Arc<str>,
    namespace: Arc<str>,
    /// Pods that get new connections.
    ready: ArcSwap<Vec<Arc<Backend>>>,
    /// All pods, also those that only keep what they have. Only the writer looks here.
    known: Mutex<Vec<Arc<Backend>>>,
    changed: Notify,
    retired: AtomicBool,
    /// Where the search for the least loaded pod begins, so that equals take turns.
    turn: AtomicUsize,
    open: Arc<Gate>,
    held: Arc<Gate>,
    stats: TenantStats,
    /// Nothing for tenants that have no nodes, which are most.
    tunnel: OnceLock<Arc<TenantTunnel>>,
}

/// Counts since the tenant is known.
#[derive(Debug, Default)]
pub struct TenantStats {
    pub(crate) accepted: AtomicU64,
    pub(crate) from_client: AtomicU64,
    pub(crate) to_client: AtomicU64,
    pub(crate) dial_failures: AtomicU64,
    pub(crate) rejected: [AtomicU64; Rejection::COUNT],
}

impl TenantStats {
    /// Connections that were closed for this reason.
    pub fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }

    pub(crate) fn count_rejected(&self, reason: Rejection) {
        if let Some(count) = self.rejected.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Tenant {
    pub(super) fn new(id: Arc<str>, host: Arc<str>, namespace: Arc<str>, bounds: TenantBounds) -> Self {
        Self {
            id,
            host,
            namespace,
            ready: ArcSwap::default(),
            known: Mutex::default(),
            changed: Notify::new(),
            retired: AtomicBool::new(false),
            turn: AtomicUsize::new(0),
            open: Gate::new(bounds.connections),
            held: Gate::new(bounds.held),
            stats: TenantStats::default(),
            tunnel: OnceLock::new(),
        }
    }

    /// Tenant id.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its host in SNI.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Namespace of its control plane.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its tunnels, from the first one on.
    pub(crate) fn tunnel(&self) -> Option<&Arc<TenantTunnel>> {
        self.tunnel.get()
    }

    /// Its tunnels, with these bounds if this is the first one.
    pub(crate) fn tunnel_within(&self, bounds: &config::Tunnel) -> &Arc<TenantTunnel> {
        let tunnel = self.tunnel.get_or_init(|| Arc::new(TenantTunnel::new(bounds)));
        // The tenant may have been removed meanwhile, by somebody who found no tunnel.
        if self.is_retired() {
            tunnel.close();
        }
        tunnel
    }

    /// Counts.
    pub fn stats(&self) -> &TenantStats {
        &self.stats
    }

    /// Open connections, held ones included.
    pub fn open(&self) -> &Arc<Gate> {
        &self.open
    }

    /// Connections that wait for an API server.
    pub fn held(&self) -> &Arc<Gate> {
        &self.held
    }

    /// API servers that get new connections.
    pub fn ready(&self) -> Arc<Vec<Arc<Backend>>> {
        self.ready.load_full()
    }

    /// Whether the control plane was deleted: nobody may wait for it any more.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    /// Told whenever the API servers change.
    pub(crate) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// The ready API server with the fewest connections that is not among `tried`; one that refused a connection a
    /// short time ago only when there is no other.
    pub(crate) fn pick(&self, tried: &[Arc<Backend>]) -> Option<Lease> {
        let ready = self.ready.load();
        if let ([only], []) = (ready.as_slice(), tried) {
            return Some(only.lease());
        }
        let start = self.turn.fetch_add(1, Ordering::Relaxed) % ready.len().max(1);
        let (front, back) = ready.split_at_checked(start)?;
        back.iter()
            .chain(front)
            .filter(|backend| !tried.iter().any(|t| Arc::ptr_eq(t, backend)))
            .min_by_key(|backend| (backend.is_suspect(), backend.open()))
            .map(Backend::lease)
    }

    /// Takes over a new list of pods; `current` if every change before it is known.
    pub(super) fn update(&self, pods: &[RoutePod], current: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, date) = (Instant::now(), SystemTime::now());
        let next: Vec<_> = pods
            .iter()
            .map(|pod| {
                let before = known.iter().find(|b| b.is(pod));
                let backend = before.cloned().unwrap_or_else(|| Backend::new(pod));
                if let Some(closing) = pod.closing {
                    let sight = Sight { at, date, fresh: current && before.is_some() };
                    backend.set_closing(|| closing.window(&sight));
                }
                backend
            })
            .collect();
        let ready: Vec<_> =
            next.iter().zip(pods).filter(|(_, pod)| pod.ready).map(|(backend, _)| backend.clone()).collect();
        for old in known.iter().filter(|old| !next.iter().any(|b| Arc::ptr_eq(b, old))) {
            tracing::debug!(tenant = self.id(), pod = old.name(), open = old.open(), "API server is gone");
            old.set_gone();
        }
        tracing::debug!(tenant = self.id(), ready = ready.len(), known = next.len(), "API servers changed");
        *known = next;
        self.ready.store(Arc::new(ready));
        self.changed.notify_waiters();
    }

    /// The control plane was deleted: nothing new, and what is open drains.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
        self.update(&[], true);
        if let Some(tunnel) = self.tunnel.get() {
            tunnel.close();
        }
    }
}
