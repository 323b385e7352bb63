//! Connections of a listener, as many at once as there is room for.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Pause when the system has no file for another connection.
const NO_FILES: Duration = Duration::from_millis(100);

/// The next one, and its place, which is given back with the permit; `None` when there is no room for ever. A connection is
/// only taken when there is room: others wait in the system's queue. Cancel safe.
pub(crate) async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(room).acquire_owned().await.ok()?;
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return Some((stream, place)),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(NO_FILES).await;
            }
        }
    }
}
