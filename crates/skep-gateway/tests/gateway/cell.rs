//! A running gateway whose routes the test writes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use skep_gateway::directory::Directory;
use skep_gateway::node_tunnel::Identities;
use skep_gateway::routes::{ControlPlaneFact, Key, PodFact};
use skep_gateway::{Closing, Config, Gateway, GatewayError, Metrics, Rejection, Source};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest time anything in these tests may take; reaching it is a failure, never the expected way.
pub const PATIENCE: Duration = Duration::from_secs(120);

pub struct Cell {
    pub address: SocketAddr,
    pub directory: Arc<Directory>,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    running: JoinHandle<Result<(), GatewayError>>,
}

impl Cell {
    /// A gateway with default settings that knows all its tenants.
    pub fn start() -> Self {
        Self::with(|_| ())
    }

    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let cell = Self::incomplete(change);
        cell.directory.set_complete();
        cell
    }

    /// A gateway that has not heard of all tenants yet.
    pub fn incomplete(change: impl FnOnce(&mut Config)) -> Self {
        Self::fed_by(Source::Directory, change)
    }

    /// A gateway with tunnels, whose identities come from there.
    pub fn with_tunnels(identities: Arc<dyn Identities>, change: impl FnOnce(&mut Config)) -> Self {
        let cell = Self::run(Source::Directory, change, |gateway| gateway.with_identities(identities));
        cell.directory.set_complete();
        cell
    }

    pub fn fed_by(source: Source, change: impl FnOnce(&mut Config)) -> Self {
        Self::run(source, change, |gateway| gateway)
    }

    fn run(source: Source, change: impl FnOnce(&mut Config), make: impl FnOnce(Gateway) -> Gateway) -> Self {
        let mut config = Config { workers: 2, ..Config::on(([127, 0, 0, 1], 0).into()) };
        change(&mut config);
        let gateway = make(Gateway::bind(config).unwrap());
        let (address, directory, metrics) = (gateway.local_addr(), gateway.directory(), gateway.metrics());
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(gateway.run(source, shutdown.clone()));
        Self { address, directory, metrics, shutdown, running }
    }

    /// Adds a tenant with this id and the host [`host`].
    pub fn tenant(&self, tenant: &str) {
        let fact = ControlPlaneFact {
            key: Key::new(tenant, tenant),
            created: 0,
            tenant: tenant.into(),
            host: host(tenant),
        };
        self.directory.update(|table| table.apply_control_plane(fact));
    }

    pub fn forget_tenant(&self, tenant: &str) {
        self.directory.update(|table| table.delete_control_plane(&Key::new(tenant, tenant)));
    }

    /// Adds or changes a pod of a tenant.
    pub fn pod(&self, tenant: &str, name: &str, address: SocketAddr, ready: bool) {
        self.apply(tenant, name, address, ready, None);
    }

    /// Says that a pod of a tenant is being deleted, and when it closes its connections.
    pub fn end_pod(&self, tenant: &str, name: &str, address: SocketAddr, after: Duration) {
        let closing = Closing { asked: jiff::Timestamp::now().as_second(), after };
        self.apply(tenant, name, address, false, Some(closing));
    }

    fn apply(&self, tenant: &str, name: &str, address: SocketAddr, ready: bool, closing: Option<Closing>) {
        let fact = PodFact {
            key: Key::new(tenant, name),
            uid: format!("{tenant}/{name}"),
            tenant: tenant.into(),
            address: Some(address),
            ready,
            closing,
        };
        self.directory.update(|table| table.apply_pod(fact));
    }

    pub fn delete_pod(&self, tenant: &str, name: &str) {
        self.directory.update(|table| table.delete_pod(&Key::new(tenant, name)));
    }

    pub async fn until_held(&self, count: usize) {
        until(|| self.metrics.held_connections() == count).await;
    }

    pub async fn until_open(&self, count: usize) {
        until(|| self.metrics.open_connections() == count).await;
    }

    pub async fn until_rejected(&self, reason: Rejection, count: u64) {
        until(|| self.metrics.rejected(reason) == count).await;
    }

    /// Waits until the gateway has ended by itself.
    pub async fn ended(self) {
        within(self.running).await.unwrap().unwrap();
    }
}

/// The host of a tenant.
pub fn host(tenant: &str) -> String {
    format!("{tenant}.skep.internal")
}

/// Waits for a condition that another thread will make true.
pub async fn until(condition: impl Fn() -> bool) {
    within(async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

/// Fails the test instead of hanging it.
pub async fn within<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work).await.expect("did not happen")
}
