//! `skep autoscaler provider`, `skep autoscaler expander` and `skep autoscaler relay`.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use nix::unistd::gethostname;
use skep_autoscaler::{
    Expander, Figures, Hub, NAME, Provider, Relay, Rpc, Server, Settings, StockFile, Tls, TlsFiles,
};
use skep_kubeops::Recorder;

use super::part::{Frame, failed, reload};
use crate::{
    cli::{Global, autoscaler as cli},
    error::{Error, Result},
    exit::Exit,
    logging, runtime,
};

/// Serves the cloud provider until it is told to stop.
///
/// # Errors
/// A file or port that cannot be used.
pub fn provider(global: &Global, args: &cli::Provider) -> Result<()> {
    runtime::with_allocator_settings();
    runtime::service(async {
        let frame = Frame::new(global, &args.served.common, NAME).await?;
        let provider = Provider::new(hub(&frame, &args.served));
        serve("provider", frame, &args.served, args.listen, Some(args.client_ca.clone()), provider).await
    })
}

/// Serves the expander until it is told to stop.
///
/// # Errors
/// A file or port that cannot be used.
pub fn expander(global: &Global, args: &cli::Expander) -> Result<()> {
    runtime::with_allocator_settings();
    runtime::service(async {
        let frame = Frame::new(global, &args.served.common, NAME).await?;
        let stock = match &args.stock {
            Some(path) => Some(StockFile::open(path).await?),
            None => None,
        };
        let host = gethostname().map_err(failed)?;
        let recorder =
            Recorder::new(frame.client.clone(), NAME, &host.to_string_lossy()).metrics(&frame.metrics);
        let expander = Expander::new(hub(&frame, &args.served), stock, recorder);
        serve("expander", frame, &args.served, args.listen, None, expander).await
    })
}

/// Passes calls of an expander on until it is told to stop.
///
/// # Errors
/// A port that cannot be used.
pub fn relay(args: &cli::Relay) -> Result<()> {
    runtime::with_allocator_settings();
    runtime::service(async {
        logging::init(&args.log, args.log_json, None)?;
        let stop = runtime::stop_on_signals()?;
        let relay = Relay::bind(args.listen, &args.to, &args.files).await?;
        let address = relay.address().map_err(failed)?;
        tracing::info!(%address, to = args.to, "passing calls of an expander on");
        relay.run(stop).await;
        Ok(())
    })
}

fn hub(frame: &Frame, args: &cli::Served) -> Hub {
    let hub = Hub::new(frame.client.clone(), &args.project, &args.cluster);
    let seen = hub.clone();
    frame.health.add_ready_check("hub", move || seen.reached());
    hub
}

async fn serve(
    service: &str,
    frame: Frame,
    args: &cli::Served,
    listen: SocketAddr,
    client_ca: Option<PathBuf>,
    rpc: impl Rpc,
) -> Result<()> {
    let files = TlsFiles { certificate: args.tls_cert.clone(), key: args.tls_key.clone(), client_ca };
    let tls = Tls::new(&files.read()?)?;
    let figures = Figures::new(&frame.metrics);
    let server = Server::bind(Settings { listen, tls: Arc::clone(&tls), figures }).await?;
    let address = server.address().map_err(failed)?;
    tracing::info!(%address, service, "serving cluster-autoscaler");
    tokio::spawn(reload(move || files.read(), move |pems| tls.replace(pems), frame.stop.clone()));
    server.run(rpc, frame.stop).await;
    Ok(())
}

impl From<skep_autoscaler::Error> for Error {
    fn from(error: skep_autoscaler::Error) -> Self {
        // The message names its code itself, for those who see it over the wire.
        let message = error.to_string();
        let code = error.code();
        let message = message.trim_end_matches(&format!(" ({code})"));
        Self::new(code, Exit::Failure, message)
    }
}
