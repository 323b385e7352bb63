//! `/metrics`, `/healthz` and `/readyz` on one address.
//!
//! Plain HTTP and no authentication: give it a loopback or pod-internal address.
//! It serves nothing that is secret.

use std::{
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
};

use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::Metrics;

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// What the endpoint serves. Cheap to clone; checks can be added at any time.
#[derive(Clone)]
pub struct Health {
    metrics: Metrics,
    ready: Arc<RwLock<Vec<(&'static str, Check)>>>,
}

/// The endpoint could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot serve health and metrics on {address}: {source}; free the port or choose another address")]
pub struct HealthError {
    /// The address asked for.
    pub address: SocketAddr,
    /// The system's error.
    #[source]
    pub source: std::io::Error,
}

impl Health {
    /// An endpoint without checks: it is ready at once.
    pub fn new(metrics: Metrics) -> Self {
        Self { metrics, ready: Arc::default() }
    }

    /// Adds a check to `/readyz`: cheap, not blocking, `Err` says what is missing.
    pub fn add_ready_check(
        &self,
        name: &'static str,
        check: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) {
        self.ready.write().unwrap_or_else(PoisonError::into_inner).push((name, Box::new(check)));
    }

    /// The verdict of all checks, one line each, and whether all passed.
    pub fn readiness(&self) -> (bool, String) {
        let checks = self.ready.read().unwrap_or_else(PoisonError::into_inner);
        let mut ready = true;
        let mut text = String::new();
        for (name, check) in checks.iter() {
            match check() {
                Ok(()) => text.push_str(&format!("[+] {name} ok\n")),
                Err(missing) => {
                    ready = false;
                    text.push_str(&format!("[-] {name}: {missing}\n"));
                }
            }
        }
        (ready, text)
    }

    /// Opens the endpoint and serves it in the background until `shutdown`; gives the address it got.
    ///
    /// # Errors
    /// The address is in use or not ours.
    pub async fn serve(
        &self,
        address: SocketAddr,
        shutdown: CancellationToken,
    ) -> Result<SocketAddr, HealthError> {
        let failed = |source| HealthError { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let bound = listener.local_addr().map_err(failed)?;
        let router = self.router();
        tokio::spawn(async move {
            let served = axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned());
            if let Err(error) = served.await {
                tracing::warn!(%error, "the health endpoint ended");
            }
        });
        Ok(bound)
    }

    /// The routes, for a server that has others too.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/metrics", get(metrics))
            .route("/healthz", get(|| async { "ok\n" }))
            .route("/livez", get(|| async { "ok\n" }))
            .route("/readyz", get(readyz))
            .with_state(self.clone())
    }
}

async fn metrics(State(health): State<Health>) -> Response {
    match health.metrics.encode() {
        // The type OpenMetrics 1.0 prescribes.
        Ok(text) => ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text)
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

async fn readyz(State(health): State<Health>) -> Response {
    let (ready, text) = health.readiness();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, text).into_response()
}
