//! The server of all clusters with the component: its certificate comes from the authority that signs their clients.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use skep_kubeops::Trigger;
use tokio_util::sync::CancellationToken;

use super::issue::Authority;
use super::{Config, Directory, Offer};
use crate::{Error, Expander, Figures, Hub, Pems, Server, Settings, Tls};

/// Connections of all tenants at once.
const CONNECTIONS: usize = 4096;
/// Pause after the port or the authority could not be had.
const AGAIN: Duration = Duration::from_secs(5);
/// How often the certificate is looked at; it is renewed after two thirds of a year.
const LOOK: Duration = Duration::from_secs(12 * 3600);

/// Serves until `shutdown`. Whenever it begins to and whenever it cannot, all clusters are looked at.
pub(super) async fn run(
    config: Config,
    authority: Arc<Authority>,
    directory: Directory,
    trigger: Trigger,
    shutdown: CancellationToken,
) {
    let Some(offer) = config.offer.clone() else { return };
    let figures = Figures::new(&config.metrics);
    loop {
        let error = match begin(&offer, &authority, &figures).await {
            Ok(begun) => {
                authority.trouble(None);
                trigger.all();
                return serve(begun, &config, &offer, &authority, directory, shutdown).await;
            }
            Err(error) => error,
        };
        tracing::error!(%error, "clusters' autoscalers are not served; tried again");
        authority.trouble(Some(error.to_string()));
        trigger.all();
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(AGAIN) => {}
        }
    }
}

/// A server that has its port and its certificate.
struct Begun {
    server: Server,
    tls: Arc<Tls>,
    pems: Pems,
}

async fn begin(offer: &Offer, authority: &Authority, figures: &Figures) -> Result<Begun, Error> {
    let pems = pems(authority, offer).await?;
    let tls = Tls::new(&pems)?;
    let settings = Settings { listen: offer.listen, tls: Arc::clone(&tls), figures: figures.clone() };
    Ok(Begun { server: Server::bind(settings).await?, tls, pems })
}

async fn serve(
    begun: Begun,
    config: &Config,
    offer: &Offer,
    authority: &Authority,
    directory: Directory,
    shutdown: CancellationToken,
) {
    let Begun { server, tls, pems } = begun;
    tracing::info!(address = %offer.listen, "serving clusters' autoscalers");
    let nobody = Hub::new(config.client.clone(), "", "");
    let expander = Expander::new(nobody, offer.stock.clone(), config.recorder.clone());
    let served = server.run_for(CONNECTIONS, move |shown| directory.admit(shown, &expander), shutdown);
    tokio::select! {
        () = served => {}
        () = renew(&tls, pems, authority, offer) => {}
    }
}

/// Replaces the certificate and what clients are verified by when either has changed.
async fn renew(tls: &Tls, mut used: Pems, authority: &Authority, offer: &Offer) {
    loop {
        tokio::time::sleep(LOOK).await;
        match pems(authority, offer).await {
            Ok(new) if new != used => match tls.replace(&new) {
                Ok(()) => used = new,
                Err(error) => tracing::warn!(%error, "the certificate stays as it is"),
            },
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the certificate stays as it is"),
        }
    }
}

async fn pems(authority: &Authority, offer: &Offer) -> Result<Pems, Error> {
    let tls = |error: super::issue::Failed| Error::Tls { what: "authority", reason: error.to_string() };
    let (pair, trusted) = authority.server(&offer.address, Timestamp::now()).await.map_err(tls)?;
    Ok(Pems::new(pair.cert_pem, pair.key_pem.into_string(), Some(trusted)))
}
