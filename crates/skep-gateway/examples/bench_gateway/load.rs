//! What clients do, as many of them and as fast as they can, for a bounded time.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// Time before counting begins: connections are made, caches filled.
pub const WARM_UP: Duration = Duration::from_millis(300);

/// How to reach and ask a server.
#[derive(Clone)]
pub struct Client {
    pub config: Arc<ClientConfig>,
    pub host: String,
    pub path: String,
    pub addresses: Vec<SocketAddr>,
    next: Arc<AtomicUsize>,
}

/// Finished work and the time it took.
pub struct Done {
    pub count: u64,
    pub seconds: f64,
}

impl Client {
    pub fn new(config: Arc<ClientConfig>, host: &str, path: &str, addresses: &[SocketAddr]) -> Self {
        let (host, path, addresses) = (host.to_owned(), path.to_owned(), addresses.to_vec());
        Self { config, host, path, addresses, next: Arc::default() }
    }

    /// A TCP connection from one of many loopback addresses, so that ports do not run out.
    async fn connect(&self) -> Result<TcpStream> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let address = self.addresses[turn % self.addresses.len()];
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from(([127, 0, 1, u8::try_from(turn / 64 % 200)? + 1], 0)))?;
        let stream = socket.connect(address).await.with_context(|| address.to_string())?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    pub async fn connect_tls(&self) -> Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(self.host.clone())?;
        Ok(TlsConnector::from(self.config.clone()).connect(name, self.connect().await?).await?)
    }

    fn request(&self) -> Result<Request<Empty<Bytes>>> {
        let uri = format!("https://{}{}", self.host, self.path);
        Ok(Request::builder().uri(uri).header("host", &self.host).body(Empty::new())?)
    }

    /// One HTTP/1.1 connection that asks until told to stop.
    async fn http1(self, progress: Arc<Progress>) -> Result<()> {
        let io = TokioIo::new(self.connect_tls().await?);
        let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
        tokio::spawn(connection);
        while progress.goes_on() {
            sender.ready().await?;
            let answer = sender.send_request(self.request()?).await?;
            progress.one(answer).await?;
        }
        Ok(())
    }

    /// One HTTP/2 connection with several requests at once.
    async fn http2(self, streams: u32, progress: Arc<Progress>) -> Result<()> {
        let io = TokioIo::new(self.connect_tls().await?);
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        builder.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
        let (sender, connection) = builder.handshake(io).await?;
        tokio::spawn(connection);
        let mut requests = JoinSet::new();
        for _ in 0..streams {
            let (client, mut sender, progress) = (self.clone(), sender.clone(), progress.clone());
            requests.spawn(async move {
                while progress.goes_on() {
                    sender.ready().await?;
                    let answer = sender.send_request(client.request()?).await?;
                    progress.one(answer).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = requests.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// A new connection for every request.
    async fn reconnect(self, progress: Arc<Progress>) -> Result<()> {
        while progress.goes_on() {
            let io = TokioIo::new(self.connect_tls().await?);
            let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await?;
            tokio::spawn(connection);
            let answer = sender.send_request(self.request()?).await?;
            progress.one(answer).await?;
        }
        Ok(())
    }

    /// A new connection for every ClientHello, answered by one byte: no cryptography, only connecting.
    async fn hello(self, hello: Arc<[u8]>, progress: Arc<Progress>) -> Result<()> {
        while progress.goes_on() {
            let mut stream = self.connect().await?;
            stream.write_all(&hello).await?;
            let mut answer = [0; 8];
            if stream.read(&mut answer).await? != 1 {
                bail!("no answer");
            }
            progress.count.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}

/// The kinds of load.
#[derive(Clone, Copy, Debug)]
pub enum Load {
    Http1 { connections: u32 },
    Http2 { connections: u32, streams: u32 },
    Reconnect { clients: u32 },
    Hello { clients: u32 },
}

struct Progress {
    count: AtomicU64,
    stopped: AtomicBool,
}

impl Progress {
    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed)
    }

    async fn one(&self, answer: hyper::Response<hyper::body::Incoming>) -> Result<()> {
        if !answer.status().is_success() {
            bail!("answer {}", answer.status());
        }
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        self.count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// Runs a load: warms up, then counts for `span`.
pub async fn run(client: &Client, load: Load, span: Duration) -> Result<Done> {
    let progress = Arc::new(Progress { count: AtomicU64::new(0), stopped: AtomicBool::new(false) });
    let mut clients = JoinSet::new();
    let hello: Arc<[u8]> = client_hello(client)?.into();
    let count = match load {
        Load::Http1 { connections } | Load::Http2 { connections, .. } => connections,
        Load::Reconnect { clients } | Load::Hello { clients } => clients,
    };
    for _ in 0..count {
        let (client, progress, hello) = (client.clone(), progress.clone(), hello.clone());
        clients.spawn(async move {
            match load {
                Load::Http1 { .. } => client.http1(progress).await,
                Load::Http2 { streams, .. } => client.http2(streams, progress).await,
                Load::Reconnect { .. } => client.reconnect(progress).await,
                Load::Hello { .. } => client.hello(hello, progress).await,
            }
        });
    }
    let measured = async {
        tokio::time::sleep(WARM_UP).await;
        let (start, before) = (Instant::now(), progress.count.load(Ordering::Relaxed));
        tokio::time::sleep(span).await;
        let count = progress.count.load(Ordering::Relaxed) - before;
        Done { count, seconds: start.elapsed().as_secs_f64() }
    };
    let failed = async {
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    let done = tokio::select! {
        done = measured => done,
        ended = failed => {
            ended?;
            bail!("clients ended early");
        }
    };
    progress.stopped.store(true, Ordering::Relaxed);
    let ended = async {
        while let Some(ended) = clients.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), ended).await.context("clients did not end")??;
    Ok(done)
}

/// The bytes of a real ClientHello.
fn client_hello(client: &Client) -> Result<Vec<u8>> {
    let name = ServerName::try_from(crate::tls::HOST)?;
    let mut connection = rustls::ClientConnection::new(client.config.clone(), name)?;
    let mut bytes = Vec::new();
    connection.write_tls(&mut bytes)?;
    Ok(bytes)
}
