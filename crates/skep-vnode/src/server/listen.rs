//! Accepts connections: TLS, the caller's name, then HTTP/1.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::access::Caller;
use super::routes;
use super::state::ServerState;
use super::tls::KubeletTls;

/// Connections of one node at once, those in their handshake included.
const CONNECTIONS: usize = 512;
const HANDSHAKE: Duration = Duration::from_secs(10);
/// For a whole request head; also how long an unused connection is kept.
const HEAD: Duration = Duration::from_secs(60);
/// Bytes of a request head.
const HEAD_BYTES: usize = 32 * 1024;
/// After a failed accept (out of file descriptors), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then drops what is open: logs and commands end with their node.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<KubeletTls>,
    state: Arc<ServerState>,
    shutdown: CancellationToken,
) {
    let router = routes::router(state.clone());
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let place = tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            place = places.clone().acquire_owned() => place,
        };
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let connection = connection(stream, peer, tls.clone(), state.clone(), router.clone());
        connections.spawn(async move {
            connection.await;
            drop(place);
        });
    }
    connections.shutdown().await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    tls: Arc<KubeletTls>,
    state: Arc<ServerState>,
    router: Router,
) {
    // Keystrokes are single bytes.
    let _ = stream.set_nodelay(true);
    let accepting = TlsAcceptor::from(tls.current()).accept(stream);
    let stream = match tokio::time::timeout(HANDSHAKE, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "a TLS handshake failed");
            return;
        }
        Err(_) => return,
    };
    let certificate = stream.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let caller = certificate.map(Caller::of).unwrap_or_default();
    let allowed = state.access.allows(&caller);
    if !allowed {
        tracing::warn!(node = %state.name, %peer, name = caller.name, "a caller was refused: not on the list");
    }
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let router = router.clone();
        let name = caller.name.clone();
        async move {
            if allowed {
                router.oneshot(request.map(axum::body::Body::new)).await
            } else {
                Ok(routes::forbidden(name.as_deref()))
            }
        }
    });
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
    if let Err(error) = served {
        tracing::debug!(%peer, %error, "a connection ended badly");
    }
}
