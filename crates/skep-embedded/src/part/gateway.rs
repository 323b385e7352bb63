//! The gateway around one client.

use kube::Client;
use skep_gateway::{Config, CurrentMetrics, Gateway, GatewayError, Source};
use skep_kubeops::Metrics;
use tokio_util::sync::CancellationToken;

/// User agent.
pub const NAME: &str = "skep-gateway";

/// A place among `metrics` for the figures of every gateway that is [`bind`]ed with it, one after the other.
pub fn figures(metrics: &Metrics) -> CurrentMetrics {
    let figures = CurrentMetrics::default();
    metrics.register(|registry| figures.register(registry));
    figures
}

/// Takes the port. Clients may connect from now on and are served when [`run`] does.
///
/// # Errors
/// When the port is taken.
pub fn bind(config: Config, figures: &CurrentMetrics) -> Result<Gateway, GatewayError> {
    let gateway = Gateway::bind(config)?;
    figures.set(&gateway.metrics());
    Ok(gateway)
}

/// Serves until `shutdown`.
///
/// # Errors
/// When one of its threads cannot go on.
pub async fn run(gateway: Gateway, client: Client, shutdown: CancellationToken) -> Result<(), GatewayError> {
    gateway.run(Source::Kubernetes(client), shutdown).await
}
