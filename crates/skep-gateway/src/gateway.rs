//! The gateway as a whole: bind, run, stop.

use std::fmt;
use std::future::pending;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use futures::future::select_all;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::directory::Directory;
use crate::error::GatewayError;
use crate::metrics::Metrics;
use crate::node_tunnel::{Hall, Identities, KubernetesIdentities};
use crate::shared::Shared;
use crate::worker::{Crew, Running};
use crate::{socket, watch};

/// How long threads may take to end after everything they do was cancelled.
const JOIN: Duration = Duration::from_secs(5);

/// Where routes come from.
#[derive(Clone)]
pub enum Source {
    /// Watches pods and `ControlPlane`s of a cell.
    Kubernetes(kube::Client),
    /// Whoever holds [`Gateway::directory`] keeps it up to date and says when it is complete.
    Directory,
}

/// A bound gateway. Clients may connect from now on; they are served once it [`run`](Self::run)s.
pub struct Gateway {
    shared: Arc<Shared>,
    listeners: Vec<OwnedFd>,
    local: SocketAddr,
    identities: Option<Arc<dyn Identities>>,
}

impl fmt::Debug for Gateway {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gateway").field("local", &self.local).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Takes the port. Raises this process' limit of open files to what it is allowed, and lowers the number of
    /// connections to what fits into three quarters of it.
    pub fn bind(mut config: Config) -> Result<Self, GatewayError> {
        config.validate()?;
        let possible = connections_within(raise_file_limit());
        if config.limits.connections > possible {
            tracing::warn!(
                wanted = config.limits.connections,
                possible,
                "the limit of open files allows fewer connections; raise it (ulimit -n, LimitNOFILE)"
            );
            config.limits.connections = possible;
            // No tenant may take what is left of it for itself.
            let most = (possible / 2).max(1);
            config.limits.connections_per_tenant = config.limits.connections_per_tenant.min(most);
        }
        let failed = |address| move |source| GatewayError::Listen { address, source };
        let keepalive = config.timeouts.keepalive;
        let first = socket::listen(config.listen, keepalive).map_err(failed(config.listen))?;
        let local = socket::local_address(&first).map_err(failed(config.listen))?;
        let mut listeners = vec![first];
        // What a listener on all addresses has already cannot be taken once more.
        let covers = |address: &SocketAddr| {
            config.listen.ip().is_unspecified()
                && (local.port(), local.is_ipv4()) == (address.port(), address.is_ipv4())
        };
        for address in config.also.iter().filter(|address| !covers(address)) {
            listeners.push(socket::listen_anyway(*address, keepalive).map_err(failed(*address))?);
        }
        Ok(Self { shared: Arc::new(Shared::new(config)), listeners, local, identities: None })
    }

    /// Has tunnels with identities from here. Not needed with [`Source::Kubernetes`], where they come from the cell.
    #[must_use]
    pub fn with_identities(mut self, identities: Arc<dyn Identities>) -> Self {
        self.identities = Some(identities);
        self
    }

    /// Where clients connect, with the port the system chose if none was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// The routes.
    pub fn directory(&self) -> Arc<Directory> {
        self.shared.directory.clone()
    }

    /// Figures of this gateway, to be registered where metrics are served.
    pub fn metrics(&self) -> Metrics {
        Metrics::new(self.shared.clone())
    }

    /// Serves until `shutdown`, then lets open connections go on for their time, and returns when the last is closed.
    pub async fn run(self, source: Source, shutdown: CancellationToken) -> Result<(), GatewayError> {
        let (closing, stop) = (CancellationToken::new(), CancellationToken::new());
        // However this future ends, the threads must not outlive it.
        let _guard = stop.clone().drop_guard();
        let shared = self.shared.clone();
        let crew = Crew {
            shared: shared.clone(),
            listeners: self.listeners,
            closing: closing.clone(),
            stop: stop.clone(),
        };
        let mut running = crew.start().map_err(|(worker, source)| GatewayError::Worker { worker, source })?;
        let identities = self.identities.or_else(|| match &source {
            Source::Kubernetes(client) => Some(Arc::new(KubernetesIdentities::new(client.clone())) as _),
            Source::Directory => None,
        });
        if let Some(identities) = identities {
            let hall = Hall::start(shared.clone(), identities, closing.clone(), stop.clone());
            running.push(hall.map_err(|source| GatewayError::Worker { worker: running.len(), source })?);
        }
        tracing::info!(address = %self.local, workers = running.len(), "gateway serves");
        let routes = async {
            match source {
                Source::Kubernetes(client) => watch::run(client, &shared).await,
                Source::Directory => pending().await,
            }
        };
        let drained = async {
            shutdown.cancelled().await;
            closing.cancel();
            let open = shared.open.used();
            tracing::info!(open, "gateway stops: no new connections");
            if timeout(shared.config.timeouts.shutdown, shared.open.emptied()).await.is_err() {
                tracing::info!(open = shared.open.used(), "gateway closes what is still open");
            }
        };
        let result = tokio::select! {
            () = routes => Ok(()),
            () = drained => Ok(()),
            (worker, source) = first_to_end(&mut running) => Err(GatewayError::Worker { worker, source }),
        };
        // The port is free again when the last thread has ended: whoever binds it next must not be refused.
        stop.cancel();
        for worker in running.iter_mut().filter(|worker| !worker.is_terminated()) {
            let _ = timeout(JOIN, worker).await;
        }
        result
    }
}

/// The first worker that ends, which none does before it is told to.
async fn first_to_end(running: &mut [Running]) -> (usize, std::io::Error) {
    if running.is_empty() {
        return pending().await;
    }
    let (ended, worker, _) = select_all(running.iter_mut()).await;
    let source = match ended {
        Ok(Err(error)) => error,
        Ok(Ok(())) | Err(_) => std::io::Error::other("its thread ended"),
    };
    (worker, source)
}

/// The limit of open files of this process, after raising it as far as it may.
fn raise_file_limit() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, raised).is_ok() {
        return limit.maximum;
    }
    limit.current
}

/// Connections whose two files each fit into three quarters of the limit.
fn connections_within(files: Option<u64>) -> usize {
    files.map_or(usize::MAX, |files| usize::try_from(files / 4 * 3 / 2).unwrap_or(usize::MAX).max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_files_is_left_for_others() {
        assert_eq!(connections_within(Some(1024)), 384);
        assert_eq!(connections_within(None), usize::MAX);
    }

    #[test]
    fn a_port_in_use_says_so_with_its_code() {
        let first = Gateway::bind(Config::on(([127, 0, 0, 1], 0).into())).unwrap();
        let error = Gateway::bind(Config::on(first.local_addr())).unwrap_err().to_string();
        assert!(error.starts_with("SKEP-6001: the gateway cannot listen on 127.0.0.1:"), "{error}");
        assert!(error.contains("docs/errors/SKEP-6001.md"), "{error}");
    }

    #[test]
    fn an_address_that_is_covered_is_not_taken_twice() {
        let all = Gateway::bind(Config::on(([0, 0, 0, 0], 0).into())).unwrap();
        let port = all.local_addr().port();
        drop(all);
        let also = vec![([127, 9, 9, 9], port).into()];
        let gateway = Gateway::bind(Config { also, ..Config::on(([0, 0, 0, 0], port).into()) }).unwrap();
        assert_eq!(gateway.listeners.len(), 1);
    }

    #[tokio::test]
    async fn ends_when_told_without_connections() {
        let gateway = Gateway::bind(Config::on(([127, 0, 0, 1], 0).into())).unwrap();
        let shutdown = CancellationToken::new();
        shutdown.cancel();
        gateway.run(Source::Directory, shutdown).await.unwrap();
    }
}
