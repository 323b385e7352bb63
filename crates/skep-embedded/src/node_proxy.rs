//! The API server's way to the virtual nodes: a CONNECT proxy that knows them and nobody else.
//!
//! The hub's API server sends everything that goes "into the cluster" here (see its egress selector): requests for
//! logs and exec, which go through, and requests to Services, which are refused at once instead of leaving the
//! machine.
//!
//! It listens on an abstract socket named after the installation: the name stays the same over restarts, as an adopted
//! API server needs it, and no directory can be too deep for it. Anybody on the machine may connect, and gets no
//! further than without it: nodes ask for the API server's client certificate.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    os::{linux::net::SocketAddrExt, unix::net},
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpStream, UnixListener, UnixStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{Error, Result};

/// Streams at a time: each `kubectl logs -f` or `exec` is one.
const CONNECTIONS: usize = 128;
/// Longest request head, in bytes.
const MAX_HEAD: usize = 4096;
/// For a request to come and for a node to accept.
const PATIENCE: Duration = Duration::from_secs(10);
const OK: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";
const FORBIDDEN: &[u8] = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BAD_GATEWAY: &[u8] = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const BAD_REQUEST: &[u8] = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The proxy, listening.
#[derive(Debug)]
pub struct NodeProxy {
    listener: UnixListener,
    nodes: Arc<[SocketAddr]>,
}

impl NodeProxy {
    /// Listens for connections to `nodes`.
    ///
    /// # Errors
    /// [`Error::Part`] when somebody else has the name, or the system has no more sockets.
    pub fn bind(instance: &str, nodes: Vec<SocketAddr>) -> Result<Self> {
        let listen = || {
            let address = net::SocketAddr::from_abstract_name(abstract_name(instance))?;
            let listener = net::UnixListener::bind_addr(&address)?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        let listener = listen().map_err(|error| Error::Part {
            part: "the way to the nodes".into(),
            reason: error.to_string(),
        })?;
        Ok(Self { listener, nodes: nodes.into() })
    }

    /// Serves until `end`.
    pub async fn run(self, end: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = end.cancelled() => return,
            };
            let Ok((client, _)) = accepted else {
                // Out of file descriptors: the pause keeps this from spinning.
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            };
            let Ok(permit) = Arc::clone(&permits).try_acquire_owned() else { continue };
            let (nodes, end) = (Arc::clone(&self.nodes), end.clone());
            tokio::spawn(async move {
                tokio::select! {
                    result = serve(client, &nodes) => if let Err(error) = result {
                        tracing::debug!(%error, "node proxy");
                    },
                    () = end.cancelled() => {}
                }
                drop(permit);
            });
        }
    }
}

/// The socket's name as Go programs write it.
pub fn socket_name(instance: &str) -> String {
    format!("@{}", abstract_name(instance))
}

fn abstract_name(instance: &str) -> String {
    format!("skep/{instance}/nodes")
}

async fn serve(mut client: UnixStream, nodes: &[SocketAddr]) -> io::Result<()> {
    let Some(target) = timeout(PATIENCE, target(&mut client)).await?? else {
        return client.write_all(BAD_REQUEST).await;
    };
    if !nodes.contains(&target) {
        tracing::debug!(%target, "refused: not a virtual node");
        return client.write_all(FORBIDDEN).await;
    }
    match timeout(PATIENCE, TcpStream::connect(target)).await {
        Ok(Ok(mut node)) => {
            node.set_nodelay(true)?;
            client.write_all(OK).await?;
            copy_bidirectional(&mut client, &mut node).await.map(drop)
        }
        _ => client.write_all(BAD_GATEWAY).await,
    }
}

/// Reads the head of a request. Not a byte more: what follows belongs to the node.
async fn target(client: &mut UnixStream) -> io::Result<Option<SocketAddr>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD {
            return Ok(None);
        }
        head.push(client.read_u8().await?);
    }
    Ok(parse(&head))
}

/// The address in `CONNECT <address> HTTP/1.x`. Names are not resolved: nodes are known by address.
fn parse(head: &[u8]) -> Option<SocketAddr> {
    let line = std::str::from_utf8(head).ok()?.lines().next()?;
    let mut words = line.split(' ');
    let (method, target, version) = (words.next()?, words.next()?, words.next()?);
    let valid = method == "CONNECT" && version.starts_with("HTTP/1.") && words.next().is_none();
    let target: SocketAddr = target.parse().ok()?;
    (valid && matches!(target.ip(), IpAddr::V4(_))).then_some(target)
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[test]
    fn only_connect_with_an_address() {
        let parse = |line: &str| parse(format!("{line}\r\nHost: x\r\n\r\n").as_bytes());
        assert_eq!(parse("CONNECT 127.64.255.1:10250 HTTP/1.1"), Some("127.64.255.1:10250".parse().unwrap()));
        for bad in [
            "GET / HTTP/1.1",
            "CONNECT skep-a:10250 HTTP/1.1",
            "CONNECT 1.2.3.4:1",
            "",
            "CONNECT [::1]:1 HTTP/1.1",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    async fn ask(instance: &str, line: &str) -> (UnixStream, String) {
        let address = net::SocketAddr::from_abstract_name(abstract_name(instance)).unwrap();
        let stream = net::UnixStream::connect_addr(&address).unwrap();
        stream.set_nonblocking(true).unwrap();
        let mut stream = UnixStream::from_std(stream).unwrap();
        stream.write_all(format!("{line}\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        (stream, String::from_utf8(head).unwrap())
    }

    #[tokio::test]
    async fn a_node_is_reached_and_a_service_is_refused_at_once() {
        let instance = format!("test-{}", std::process::id());
        let node = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (node_at, service_at) = (node.local_addr().unwrap(), service.local_addr().unwrap());
        let proxy = NodeProxy::bind(&instance, vec![node_at]).unwrap();
        assert!(NodeProxy::bind(&instance, Vec::new()).is_err(), "there is one");
        let end = CancellationToken::new();
        let running = tokio::spawn(proxy.run(end.clone()));

        let (mut stream, head) = ask(&instance, &format!("CONNECT {node_at} HTTP/1.1")).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let (mut served, _) = node.accept().await.unwrap();
        served.write_all(b"log line").await.unwrap();
        let mut text = [0; 8];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"log line");

        let (_, head) = ask(&instance, &format!("CONNECT {service_at} HTTP/1.1")).await;
        assert!(head.starts_with("HTTP/1.1 403"), "{head}");
        let (_, head) = ask(&instance, "GET / HTTP/1.1").await;
        assert!(head.starts_with("HTTP/1.1 400"), "{head}");

        end.cancel();
        running.await.unwrap();
        assert!(NodeProxy::bind(&instance, Vec::new()).is_ok(), "a later supervisor takes it over");
    }
}
