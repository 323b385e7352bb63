//! An API server is replaced while clients write without ever repeating a request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::cell::{Cell, host, until, within};
use crate::tls::Identity;
use crate::upstream::{CREATED, REQUEST, Upstream};

/// So many that without holding several have a request on its way when the server closes.
const WRITERS: usize = 48;
/// How long the old server serves on.
const DELAY: Duration = Duration::from_millis(600);
/// Requests that show that all goes well.
const MANY: usize = 50 * WRITERS;

/// A client that writes as fast as it is answered, over one connection as long as that is open.
struct Writer {
    identity: Arc<Identity>,
    gateway: SocketAddr,
    stop: CancellationToken,
}

impl Writer {
    /// What failed.
    async fn run(self) -> Vec<io::Error> {
        let mut failures = Vec::new();
        while !self.stop.is_cancelled() {
            if let Err(error) = self.connection().await {
                failures.push(error);
            }
        }
        failures
    }

    /// Writes over one connection until that ends in order, or it is time to stop.
    async fn connection(&self) -> io::Result<()> {
        let mut stream = self.identity.connect(self.gateway).await?;
        while !self.stop.is_cancelled() && !ended(&mut stream) {
            stream.write_all(REQUEST).await?;
            stream.flush().await?;
            let mut answer = [0; CREATED.len()];
            stream.read_exact(&mut answer).await?;
            if answer != CREATED {
                return Err(io::Error::other(String::from_utf8_lossy(&answer)));
            }
        }
        Ok(())
    }
}

/// Whether the end of a connection is known. A client looks before it sends, and learns nothing while it looks.
fn ended(stream: &mut TlsStream<TcpStream>) -> bool {
    stream.read(&mut [0; 1]).now_or_never().is_some()
}

/// Replaces an API server that tells when it closes its connections; what failed. Without that annotation several dozen
/// writes fail.
async fn replace() -> Vec<io::Error> {
    let (cell, identity) = (Cell::start(), Arc::new(Identity::new(&host("a"))));
    let (old, new) = (Upstream::start(&identity).await, Upstream::start(&identity).await);
    cell.tenant("a");
    cell.pod("a", "old", old.address, true);
    let stop = CancellationToken::new();
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (identity, gateway) = (Arc::clone(&identity), cell.address);
            tokio::spawn(Writer { identity, gateway, stop: stop.clone() }.run())
        })
        .collect();
    until(|| old.served() > MANY).await;
    cell.pod("a", "new", new.address, true);
    cell.end_pod("a", "old", old.address, DELAY);
    within(old.terminate(DELAY)).await;
    cell.delete_pod("a", "old");
    until(|| new.served() > MANY).await;
    stop.cancel();
    let failures = within(join_all(writers)).await.into_iter().flat_map(Result::unwrap).collect();
    cell.until_open(0).await;
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_write_fails_when_an_api_server_is_replaced() {
    let failures = replace().await;
    assert!(failures.is_empty(), "{} of {WRITERS} writers: {:?}", failures.len(), failures.first());
}
