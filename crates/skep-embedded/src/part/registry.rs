//! The registry that local machines pull images from.

use std::{net::SocketAddr, path::Path, time::Duration};

use skep_engine::{
    Engine,
    oci::{Layout, Registry},
};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Time after which a peer that says nothing is asked whether it is there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Gives what is in `images`, and the programs of the engine as images, at an address that this host may get later.
///
/// # Errors
/// The address is taken, or the directory cannot be used.
pub async fn run(
    address: SocketAddr,
    images: &Path,
    engine: Engine,
    stop: CancellationToken,
) -> Result<(), String> {
    let layout = Layout::open(images).map_err(|error| error.to_string())?;
    let taken = |error| format!("the registry cannot listen on {address}: {error}");
    let listener = skep_gateway::listen_anyway(address, KEEPALIVE).map_err(taken)?;
    let listener = TcpListener::from_std(listener.into()).map_err(taken)?;
    Registry::new(layout, engine).serve(listener, stop).await.map_err(taken)
}
