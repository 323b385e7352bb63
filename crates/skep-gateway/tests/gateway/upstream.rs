//! An HTTP/1.1 API server that ends as kube-apiserver does: it serves on for a delay, then closes the connections it sees
//! idle, and refuses what comes on those that are still open.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::tls::Identity;

/// What clients write.
pub const REQUEST: &[u8] = b"POST /api/v1/namespaces HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody";
/// What they hear when it was taken.
pub const CREATED: &[u8] = b"HTTP/1.1 201 Created\r\ncontent-length: 2\r\n\r\n{}";
const REFUSED: &[u8] = b"HTTP/1.1 503 Refused\r\ncontent-length: 2\r\n\r\n--";

pub struct Upstream {
    pub address: SocketAddr,
    pub served: Arc<AtomicUsize>,
    closing: CancellationToken,
    connections: TaskTracker,
}

impl Upstream {
    pub async fn start(identity: &Identity) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let served = Arc::new(AtomicUsize::new(0));
        let (closing, connections) = (CancellationToken::new(), TaskTracker::new());
        let acceptor = TlsAcceptor::from(identity.server.clone());
        let (count, end, tracker) = (Arc::clone(&served), closing.clone(), connections.clone());
        tokio::spawn(end.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tracker.spawn(serve(acceptor.clone(), stream, count.clone(), end.clone()));
            }
        }));
        Self { address, served, closing, connections }
    }

    pub fn served(&self) -> usize {
        self.served.load(Ordering::SeqCst)
    }

    /// What SIGTERM begins; done when every connection is closed.
    pub fn terminate(&self, delay: Duration) -> impl Future<Output = ()> {
        let (closing, connections) = (self.closing.clone(), self.connections.clone());
        async move {
            tokio::time::sleep(delay).await;
            closing.cancel();
            connections.close();
            connections.wait().await;
        }
    }
}

async fn serve(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    served: Arc<AtomicUsize>,
    closing: CancellationToken,
) {
    let Ok(mut stream) = acceptor.accept(stream).await else { return };
    // Idle is a connection of whose next request nothing has arrived.
    while let Some(Ok(true)) = closing.run_until_cancelled(speaks(&mut stream)).await {
        let mut request = [0; REQUEST.len()];
        if stream.read_exact(&mut request).await.is_err() {
            return;
        }
        let refused = closing.is_cancelled();
        if stream.write_all(if refused { REFUSED } else { CREATED }).await.is_err() {
            return;
        }
        served.fetch_add(usize::from(!refused), Ordering::SeqCst);
        if closing.is_cancelled() {
            break;
        }
    }
    // With a close_notify, as net/http closes. What was not read makes it a reset.
    let _ = stream.shutdown().await;
}

/// Waits for a request, or for the client's end.
async fn speaks(stream: &mut TlsStream<TcpStream>) -> io::Result<bool> {
    Ok(!stream.fill_buf().await?.is_empty())
}
