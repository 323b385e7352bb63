//! Connections: TLS, HTTP/2, and bounds on both.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::accept;
use crate::rpc::{self, Rpc};
use crate::{Error, Figures, Tls};

/// Connections of one client at once: it has one for each of its servers, and one more while it starts anew.
pub(crate) const CONNECTIONS: usize = 32;
/// Calls at once over one connection.
const STREAMS: u32 = 32;
/// For a TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection that nothing comes over is asked for a sign of life, and closed when there is none.
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);
/// For calls that run when the server is told to end.
const LEAVE: Duration = Duration::from_secs(5);

/// What a server needs besides what it answers.
pub struct Settings {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Certificates.
    pub tls: Arc<Tls>,
    /// Where calls are counted.
    pub figures: Figures,
}

/// A server that has its port.
pub struct Server {
    listener: TcpListener,
    tls: Arc<Tls>,
    figures: Figures,
}

/// What a connection is answered by, or why it is refused everything.
type Chosen<R> = Result<R, Error>;

impl Server {
    /// Takes the port. Clients may connect from now on and are served when [`Server::run`] does.
    ///
    /// # Errors
    /// The port is taken or not ours.
    pub async fn bind(settings: Settings) -> Result<Self, Error> {
        let Settings { listen: address, tls, figures } = settings;
        let listener =
            TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?;
        Ok(Self { listener, tls, figures })
    }

    /// The address it has.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Serves until `stop`; then lets calls that run end, for a bounded time.
    pub async fn run<R: Rpc>(self, rpc: R, stop: CancellationToken) {
        self.run_for(CONNECTIONS, move |_| Ok(rpc.clone()), stop).await;
    }

    /// As [`Server::run`], with at most so many connections at once, each answered by what `choose` gives for the
    /// certificate that its client has shown. Who gets nothing is told why at each call.
    pub(crate) async fn run_for<R, F>(self, connections_at_once: usize, choose: F, stop: CancellationToken)
    where
        R: Rpc,
        F: Fn(Option<&CertificateDer<'static>>) -> Chosen<R> + Clone + Send + 'static,
    {
        let room = Arc::new(Semaphore::new(connections_at_once));
        let connections = TaskTracker::new();
        while let Some(Some((stream, place))) = stop.run_until_cancelled(accept(&self.listener, &room)).await
        {
            let (tls, figures, choose, stop) =
                (self.tls.current(), self.figures.clone(), choose.clone(), stop.clone());
            connections.spawn(async move {
                if let Err(error) = serve(stream, TlsAcceptor::from(tls), figures, choose, stop).await {
                    tracing::debug!(%error, "a connection ended");
                }
                drop(place);
            });
        }
        connections.close();
        let _ = tokio::time::timeout(LEAVE, connections.wait()).await;
    }
}

async fn serve<R: Rpc>(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    figures: Figures,
    choose: impl Fn(Option<&CertificateDer<'static>>) -> Chosen<R>,
    stop: CancellationToken,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let stream = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await??;
    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).cloned();
    // Who is refused may be known by the next call: the connection lives on.
    let chosen = OnceLock::new();
    let service = hyper::service::service_fn(move |request: http::Request<Incoming>| {
        let answers = match chosen.get() {
            Some(rpc) => Ok(R::clone(rpc)),
            None => choose(shown.as_ref()).map(|rpc| chosen.get_or_init(|| rpc).clone()),
        };
        let figures = figures.clone();
        async move {
            Ok::<_, Infallible>(match answers {
                Ok(rpc) => rpc::answer(&rpc, &figures, request).await,
                Err(refused) => tonic::Status::from(refused).into_http(),
            })
        }
    });
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_TIMEOUT);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return Ok(ended?),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    Ok(connection.await?)
}
