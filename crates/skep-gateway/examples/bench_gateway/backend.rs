//! The built-in backend: HTTP over TLS, and a port that answers a ClientHello with one byte.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::{processes, tls};

/// Bytes of a small answer: a ServiceAccount as JSON is about this long.
const SMALL: usize = 600;
/// Bytes of a large answer.
pub const LARGE: usize = 16 << 20;

#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    #[arg(long)]
    directory: PathBuf,
    /// Addresses for HTTP over TLS.
    #[arg(long, value_delimiter = ',')]
    http: Vec<SocketAddr>,
    /// Addresses for the single byte.
    #[arg(long, value_delimiter = ',')]
    raw: Vec<SocketAddr>,
}

pub async fn serve(args: &Args) -> Result<()> {
    let acceptor = TlsAcceptor::from(tls::server(&args.directory)?);
    for address in &args.http {
        let (listener, acceptor) = (TcpListener::bind(address).await?, acceptor.clone());
        tokio::spawn(accept(listener, move |stream| http(stream, acceptor.clone())));
    }
    for address in &args.raw {
        tokio::spawn(accept(TcpListener::bind(address).await?, raw));
    }
    println!("ready");
    processes::until_orphaned().await
}

async fn accept<F: Future<Output = Result<()>> + Send + 'static>(
    listener: TcpListener,
    serve: impl Fn(TcpStream) -> F + Send + 'static,
) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let served = serve(stream);
            tokio::spawn(async move {
                let _ = served.await;
            });
        }
    }
}

async fn http(stream: TcpStream, acceptor: TlsAcceptor) -> Result<()> {
    stream.set_nodelay(true)?;
    let stream = acceptor.accept(stream).await?;
    let service = service_fn(|request: Request<Incoming>| async move {
        static LARGE_BODY: [u8; LARGE] = [7; LARGE];
        static SMALL_BODY: [u8; SMALL] = [7; SMALL];
        let body = if request.uri().path() == "/large" { &LARGE_BODY[..] } else { &SMALL_BODY[..] };
        Ok::<_, Infallible>(Response::new(Full::new(Bytes::from_static(body))))
    });
    let mut server = auto::Builder::new(TokioExecutor::new());
    server.http2().max_concurrent_streams(250);
    server.serve_connection(TokioIo::new(stream), service).await.map_err(|error| anyhow::anyhow!(error))
}

async fn raw(mut stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut hello = [0; 2048];
    if stream.read(&mut hello).await? > 0 {
        stream.write_all(&[21]).await?;
    }
    Ok(())
}
