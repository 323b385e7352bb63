//! The API server's address on the node.
//!
//! Pods reach the API server as Service `kubernetes`, whose endpoint is the advertised address. Here that address is on
//! the node's loopback, and what connects to it goes on to the gateway. The name in such a handshake, if there is one, is
//! `kubernetes.default.svc`, so a PROXY header says which tenant is meant.
//!
//! Guarantees: connections are bounded in number (further ones wait) and each direction is closed by itself; the bytes
//! between are not touched. A peer that has vanished is noticed.

mod header;

use std::{
    io,
    net::{SocketAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use nix::sys::socket::{
    setsockopt,
    sockopt::{KeepAlive, TcpKeepCount, TcpKeepIdle, TcpKeepInterval},
};
use tokio::{
    io::{AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// Port under which API servers are advertised.
pub(crate) const PORT: u16 = 6443;
/// Connections at once: some for each pod of a full node.
const MAX_CONNECTIONS: usize = 4096;
/// To reach the gateway.
const CONNECT: Duration = Duration::from_secs(10);
/// After this many seconds of silence a peer is asked for a sign of life, this often in this distance.
const KEEP_ALIVE: (u32, u32, u32) = (60, 15, 4);
/// Pause after a failed accept: the usual reason, too many open files, does not go away by trying.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A listener and where its connections lead.
#[derive(Debug)]
pub(crate) struct Endpoint {
    listener: TcpListener,
    gateway: Arc<str>,
    tenant: Arc<str>,
    room: Arc<Semaphore>,
}

impl Endpoint {
    /// Listens at the address, a loopback one of this node, for the gateway at `gateway` (host and port) and the tenant with this host name.
    pub(crate) async fn bind(address: SocketAddrV4, gateway: &str, tenant: &str) -> Result<Self> {
        let failed = |source| Error::Endpoint { address: address.into(), source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        Ok(Self { listener, gateway: gateway.into(), tenant: tenant.into(), room })
    }

    /// Serves until `end`, which also closes what is open.
    pub(crate) async fn run(self, end: CancellationToken) {
        end.run_until_cancelled(self.serve(end.clone())).await;
    }

    async fn serve(&self, end: CancellationToken) {
        loop {
            // First the room: what there is none for waits in the kernel.
            let Ok(permit) = Arc::clone(&self.room).acquire_owned().await else { return };
            let (client, source) = match self.listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "accept");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let (gateway, tenant, end) = (Arc::clone(&self.gateway), Arc::clone(&self.tenant), end.clone());
            tokio::spawn(async move {
                let forwarded = end.run_until_cancelled(forward(client, source, &gateway, &tenant)).await;
                if let Some(Err(error)) = forwarded {
                    tracing::debug!(%source, %error, "connection to the API server");
                }
                drop(permit);
            });
        }
    }
}

async fn forward(mut client: TcpStream, source: SocketAddr, gateway: &str, tenant: &str) -> io::Result<()> {
    let (SocketAddr::V4(source), SocketAddr::V4(target)) = (source, client.local_addr()?) else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut server = timeout(CONNECT, TcpStream::connect(gateway)).await??;
    for connection in [&client, &server] {
        connection.set_nodelay(true)?;
        keep_alive(connection)?;
    }
    server.write_all(&header::header(source, target, tenant)).await?;
    copy_bidirectional(&mut client, &mut server).await.map(drop)
}

fn keep_alive(connection: &TcpStream) -> io::Result<()> {
    let (idle, interval, count) = KEEP_ALIVE;
    setsockopt(connection, KeepAlive, &true)?;
    setsockopt(connection, TcpKeepIdle, &idle)?;
    setsockopt(connection, TcpKeepInterval, &interval)?;
    setsockopt(connection, TcpKeepCount, &count)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    async fn between(gateway: &str) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let endpoint =
            Endpoint::bind("127.0.0.1:0".parse().unwrap(), gateway, "demo.skep.internal").await.unwrap();
        let (address, end) = (endpoint.listener.local_addr().unwrap(), CancellationToken::new());
        (address, end.clone(), tokio::spawn(endpoint.run(end)))
    }

    #[tokio::test]
    async fn the_gateway_hears_who_comes_for_whom_and_each_half_closes_by_itself() {
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end, task) = between(&gateway.local_addr().unwrap().to_string()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let (mut server, _) = gateway.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        // The client has said all it has to say and still listens.
        client.shutdown().await.unwrap();
        let mut all = Vec::new();
        timeout(PATIENCE, server.read_to_end(&mut all)).await.unwrap().unwrap();
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (client.local_addr().unwrap(), address) else {
            panic!()
        };
        assert_eq!(all, [&header::header(from, to, "demo.skep.internal"), &b"hello"[..]].concat());
        server.write_all(b"goodbye").await.unwrap();
        drop(server);
        let mut answer = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut answer)).await.unwrap().unwrap();
        assert_eq!(answer, b"goodbye");
        end.cancel();
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn without_a_gateway_a_connection_ends_at_once_and_the_next_one_is_tried() {
        let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        let (address, end, _task) = between(&gone.to_string()).await;
        for _ in 0..3 {
            let mut client = TcpStream::connect(address).await.unwrap();
            let read = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
            assert!(matches!(read, Ok(0) | Err(_)));
        }
        end.cancel();
    }

    #[tokio::test]
    async fn an_end_closes_what_is_open() {
        let gateway = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, end, _task) = between(&gateway.local_addr().unwrap().to_string()).await;
        let mut client = TcpStream::connect(address).await.unwrap();
        let _server = gateway.accept().await.unwrap();
        end.cancel();
        let read = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
        assert!(matches!(read, Ok(0) | Err(_)));
    }

    #[tokio::test]
    async fn an_address_that_is_taken_is_an_error_with_its_name() {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = taken.local_addr().unwrap().to_string();
        let error = Endpoint::bind(address.parse().unwrap(), "a:1", "t").await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
