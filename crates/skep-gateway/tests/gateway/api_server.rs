//! Stand-ins for kube-apiserver.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::tls::Identity;

/// A TLS server that says its name, then repeats what it hears, and ends when its client does.
pub struct ApiServer {
    pub address: SocketAddr,
    pub accepted: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl ApiServer {
    pub async fn start(name: &'static str, identity: &Identity) -> Self {
        Self::on(([127, 0, 0, 1], 0).into(), name, identity).await
    }

    pub async fn on(address: SocketAddr, name: &'static str, identity: &Identity) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (accepted, acceptor) =
            (Arc::new(AtomicUsize::new(0)), TlsAcceptor::from(identity.server.clone()));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(echo(name, acceptor.clone(), stream));
            }
        });
        Self { address, accepted, task }
    }

    pub fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn echo(name: &'static str, acceptor: TlsAcceptor, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    stream.write_all(name.as_bytes()).await?;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer).await? {
            0 => break stream.shutdown().await,
            n => stream.write_all(&buffer[..n]).await?,
        }
    }
}

/// An address on which nothing listens, and that nobody else is given: neither the kernel nor another process has it.
pub fn nobody() -> SocketAddr {
    static GIVEN: AtomicU16 = AtomicU16::new(6443);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    SocketAddr::from(([127, 62, high, low], GIVEN.fetch_add(1, Ordering::Relaxed)))
}

/// The name a server says first.
pub async fn name_of(stream: &mut (impl AsyncReadExt + Unpin), length: usize) -> String {
    let mut name = vec![0; length];
    stream.read_exact(&mut name).await.unwrap();
    String::from_utf8(name).unwrap()
}

/// Says something and hears it back.
pub async fn talk(stream: &mut (impl AsyncReadExt + AsyncWriteExt + Unpin)) -> std::io::Result<()> {
    stream.write_all(b"are you there").await?;
    stream.flush().await?;
    let mut answer = [0; 13];
    stream.read_exact(&mut answer).await?;
    assert_eq!(&answer, b"are you there");
    Ok(())
}
