//! The gateway around one client.

use kube::Client;
use skep_gateway::{Config, Gateway, GatewayError, Source};
use skep_kubeops::Metrics;
use tokio_util::sync::CancellationToken;

/// User agent.
pub const NAME: &str = "skep-gateway";

/// Takes the port. Clients may connect from now on and are served when [`run`] does.
///
/// # Errors
/// When the port is taken.
pub fn bind(config: Config, metrics: &Metrics) -> Result<Gateway, GatewayError> {
    let gateway = Gateway::bind(config)?;
    let figures = gateway.metrics();
    metrics.register(|registry| figures.register(registry));
    Ok(gateway)
}

/// Serves until `shutdown`.
///
/// # Errors
/// When one of its threads cannot go on.
pub async fn run(gateway: Gateway, client: Client, shutdown: CancellationToken) -> Result<(), GatewayError> {
    gateway.run(Source::Kubernetes(client), shutdown).await
}
