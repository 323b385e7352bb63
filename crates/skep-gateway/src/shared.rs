//! What all connections of a gateway share: settings, routes, bounds and counts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use crate::config::Config;
use crate::directory::{Directory, TenantBounds};
use crate::limits::{Gate, Permit};
use crate::node_tunnel::Entrance;
use crate::rate::SourceRate;
use crate::rejection::Rejection;

/// State of a gateway.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) directory: Arc<Directory>,
    pub(crate) tunnels: Entrance,
    /// Every connection, from accept to close.
    pub(crate) open: Arc<Gate>,
    /// Connections without a complete ClientHello.
    pub(crate) handshakes: Arc<Gate>,
    /// Connections that wait for an API server.
    pub(crate) held: Arc<Gate>,
    pub(crate) rate: Option<SourceRate>,
    pub(crate) accepted: AtomicU64,
    pub(crate) accept_errors: AtomicU64,
    rejected: [AtomicU64; Rejection::COUNT],
    /// Connections of each worker.
    loads: Box<[AtomicUsize]>,
}

impl Shared {
    pub(crate) fn new(config: Config) -> Self {
        let limits = &config.limits;
        let bounds =
            TenantBounds { connections: limits.connections_per_tenant, held: limits.held_per_tenant };
        Self {
            directory: Arc::new(Directory::new(bounds)),
            tunnels: Entrance::default(),
            open: Gate::new(limits.connections),
            handshakes: Gate::new(limits.handshakes),
            held: Gate::new(limits.held),
            rate: SourceRate::new(limits.per_source, limits.per_source_burst),
            accepted: AtomicU64::new(0),
            accept_errors: AtomicU64::new(0),
            rejected: [const { AtomicU64::new(0) }; Rejection::COUNT],
            loads: (0..config.worker_count()).map(|_| AtomicUsize::new(0)).collect(),
            config,
        }
    }

    /// Whether this source may have one more connection, and if so a place for it.
    pub(crate) fn admit(&self, source: SocketAddr) -> Result<Permit, Rejection> {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        if self.rate.as_ref().is_some_and(|rate| !rate.allow(source.ip())) {
            return Err(Rejection::SourceRate);
        }
        self.open.enter().ok_or(Rejection::Connections)
    }

    /// A seat for a connection that `worker` accepted: there, unless another one has clearly less to do. A few long
    /// connections are spread evenly, while among many short ones an eighth more is not worth waking a thread.
    pub(crate) fn seat(self: &Arc<Self>, worker: usize, permit: Permit) -> Seat {
        let load = |index: usize| self.loads.get(index).map_or(usize::MAX, |l| l.load(Ordering::Relaxed));
        let least = (0..self.loads.len()).min_by_key(|&index| load(index)).unwrap_or(worker);
        let worker = if load(worker) <= load(least) + load(least) / 8 { worker } else { least };
        self.join(worker);
        Seat { shared: self.clone(), worker, _permit: permit }
    }

    fn join(&self, worker: usize) {
        if let Some(load) = self.loads.get(worker) {
            load.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn leave(&self, worker: usize) {
        if let Some(load) = self.loads.get(worker) {
            load.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn count_rejected(&self, reason: Rejection) {
        if let Some(count) = self.rejected.get(reason.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn rejected(&self, reason: Rejection) -> u64 {
        self.rejected.get(reason.index()).map_or(0, |count| count.load(Ordering::Relaxed))
    }
}

/// A connection's place in the gateway and in its worker.
#[derive(Debug)]
pub(crate) struct Seat {
    shared: Arc<Shared>,
    worker: usize,
    _permit: Permit,
}

impl Seat {
    /// The worker it is counted for.
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    /// Counts it for another worker.
    pub(crate) fn move_to(&mut self, worker: usize) {
        self.shared.leave(self.worker);
        self.shared.join(worker);
        self.worker = worker;
    }
}

impl std::ops::Deref for Seat {
    type Target = Arc<Shared>;

    fn deref(&self) -> &Arc<Shared> {
        &self.shared
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.leave(self.worker);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(change: impl FnOnce(&mut Config)) -> Arc<Shared> {
        let mut config = Config { workers: 3, ..Config::default() };
        change(&mut config);
        Arc::new(Shared::new(config))
    }

    #[test]
    fn connections_spread_over_workers_and_stay_when_level() {
        let shared = shared(|_| ());
        let source = SocketAddr::from(([127, 0, 0, 1], 1));
        let mut seats = Vec::new();
        for _ in 0..30 {
            seats.push(shared.seat(1, shared.admit(source).unwrap()));
        }
        let of = |worker| seats.iter().filter(|s| s.worker == worker).count();
        // 8 is where an eighth begins to count.
        assert!([0, 1, 2].into_iter().all(|worker| (9..=11).contains(&of(worker))));
        seats[0].move_to(2);
        drop(seats);
        assert_eq!(shared.open.used(), 0);
        assert!(shared.loads.iter().all(|l| l.load(Ordering::Relaxed) == 0));
    }

    #[test]
    fn admission_is_bounded_by_number_and_rate() {
        let source = SocketAddr::from(([127, 0, 0, 1], 1));
        let full = shared(|c| c.limits.connections = 1);
        let _permit = full.admit(source).unwrap();
        assert_eq!(full.admit(source).unwrap_err(), Rejection::Connections);
        let slow = shared(|c| (c.limits.per_source, c.limits.per_source_burst) = (1, 2));
        let _permits = (slow.admit(source).unwrap(), slow.admit(source).unwrap());
        assert_eq!(slow.admit(source).unwrap_err(), Rejection::SourceRate);
    }
}
