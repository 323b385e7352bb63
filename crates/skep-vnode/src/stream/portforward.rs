//! `kubectl port-forward`: pairs of SPDY streams, each pair one TCP connection to the pod.
//!
//! A pod of this node has an address of its own that the node can reach, so forwarding is a plain connection to
//! `<pod address>:<port>`; nothing runs inside the pod.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::CHUNK;
use super::spdy::{Connection, Headers, Stream};

/// The only protocol there is.
pub const PROTOCOL: &str = "portforward.k8s.io";
/// Prefix with which a WebSocket sub-protocol says that its messages carry SPDY.
pub const TUNNEL_PREFIX: &str = "SPDY/3.1+";

const TYPE: &str = "streamtype";
const PORT: &str = "port";
const REQUEST: &str = "requestid";

/// Pairs of which one stream is still missing: a client opens both at once.
const MAX_HALF_PAIRS: usize = 32;
const CONNECT: Duration = Duration::from_secs(10);

/// Whether a stream names a port and a type (the check the kubelet makes before it accepts one).
#[must_use]
pub fn admit(headers: &Headers) -> bool {
    let known = matches!(headers.get(TYPE), Some("data" | "error"));
    known && port(headers).is_some()
}

fn port(headers: &Headers) -> Option<u16> {
    headers.get(PORT)?.parse().ok().filter(|port| *port != 0)
}

/// Forwards until the client leaves.
pub async fn serve(mut connection: Connection, pod: &str, address: IpAddr) {
    let closed = connection.closed();
    let mut half: HashMap<String, Stream> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        let stream = tokio::select! {
            stream = connection.accept() => stream,
            Some(_) = running.join_next() => continue,
            () = closed.cancelled() => None,
        };
        let Some(stream) = stream else { break };
        let request = request_id(&stream);
        let Some(other) = half.remove(&request) else {
            if half.len() < MAX_HALF_PAIRS {
                half.insert(request, stream);
            }
            continue;
        };
        let (data, error) = match (other.headers.get(TYPE), stream.headers.get(TYPE)) {
            (Some("error"), Some("data")) => (stream, other),
            (Some("data"), Some("error")) => (other, stream),
            // Two streams of one type: both are dropped, which resets them.
            _ => continue,
        };
        let Some(port) = port(&data.headers) else { continue };
        let pod = pod.to_owned();
        running.spawn(async move {
            if let Err(problem) = forward(data, SocketAddr::new(address, port)).await {
                let text = format!("error forwarding port {port} to pod {pod}: {problem}");
                error.writer.send(Bytes::from(text)).await;
            }
            error.writer.finish().await;
        });
    }
}

/// Both streams of a pair carry the same id. Clients without ids open the error stream first and number the data
/// stream two higher.
fn request_id(stream: &Stream) -> String {
    match (stream.headers.get(REQUEST), stream.headers.get(TYPE)) {
        (Some(id), _) => id.to_owned(),
        (None, Some("data")) => stream.id().saturating_sub(2).to_string(),
        (None, _) => stream.id().to_string(),
    }
}

async fn forward(data: Stream, to: SocketAddr) -> std::io::Result<()> {
    let timed_out = || std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer");
    let connected = tokio::time::timeout(CONNECT, TcpStream::connect(to)).await.map_err(|_| timed_out())?;
    let (mut from_pod, mut to_pod) = connected?.into_split();
    let Stream { mut chunks, writer, .. } = data;
    let reset = writer.reset().clone();
    let upload = async {
        while let Some(chunk) = chunks.recv().await {
            to_pod.write_all(&chunk).await?;
        }
        to_pod.shutdown().await
    };
    let download = async {
        loop {
            let mut buffer = BytesMut::with_capacity(CHUNK);
            if from_pod.read_buf(&mut buffer).await? == 0 {
                writer.finish().await;
                return Ok(());
            }
            if !writer.send(buffer.freeze()).await {
                return Ok(());
            }
        }
    };
    tokio::select! {
        result = async { tokio::try_join!(upload, download) } => result.map(drop),
        () = reset.cancelled() => Ok(()),
    }
}
