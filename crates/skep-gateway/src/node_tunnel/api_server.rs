//! A connection from an API server: one `CONNECT`, then bytes.

use std::io;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use skep_agent::tunnel::relay::{Direction, relay};
use skep_agent::tunnel::{Target, wire};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::timeout;

use super::dial::{NotDialled, dial};
use super::hall::Hall;
use super::request::{Head, MAX_HEAD, parse};
use super::tenant::{DialResult, TenantTunnel};
use crate::directory::Tenant;

const ESTABLISHED: &[u8] = b"HTTP/1.1 200 Connection established\r\n\r\n";

/// Serves a connection to its end.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    hall: &Hall,
    tenant: &Tenant,
    tunnel: &TenantTunnel,
    mut tls: S,
) {
    let closed = tunnel.closed();
    if let Some(Err(error)) = closed.run_until_cancelled(talk(hall, tenant, tunnel, &mut tls)).await {
        tracing::debug!(tenant = tenant.id(), %error, "tunnel: an API server's connection ended");
    }
}

async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    hall: &Hall,
    tenant: &Tenant,
    tunnel: &TenantTunnel,
    tls: &mut S,
) -> io::Result<()> {
    let asked = timeout(hall.patience(), read(tls)).await.unwrap_or_else(|_| Err(too_late()))?;
    let (target, early) = match asked {
        Ok(asked) => asked,
        Err(why) => {
            return refuse(tls, tunnel, DialResult::Malformed, &format!("{why} (SKEP-8086)")).await;
        }
    };
    // Counted from here: who has said nothing yet is bounded by the handshakes and their time.
    let Some(_place) = tunnel.connections.enter() else {
        let why = "the cluster has as many connections to its nodes as it may (SKEP-8085)";
        return refuse(tls, tunnel, DialResult::Limit, why).await;
    };
    let mut dialled = match dial(tunnel, &target, hall.config().dial, hall.settled()).await {
        Ok(dialled) => dialled,
        Err(NotDialled { result, why }) => {
            tracing::debug!(tenant = tenant.id(), %target, why, "tunnel: not connected");
            return refuse(tls, tunnel, result, &why).await;
        }
    };
    tunnel.stats.count(DialResult::Connected);
    tracing::debug!(tenant = tenant.id(), %target, node = dialled.node, "tunnel: connected");
    tls.write_all(ESTABLISHED).await?;
    tls.flush().await?;
    if !early.is_empty() {
        dialled.stream.send.send_data(early, false).map_err(io::Error::other)?;
    }
    let count = |direction, bytes: usize| {
        let counter = match direction {
            Direction::In => &tunnel.stats.to_nodes,
            Direction::Out => &tunnel.stats.from_nodes,
        };
        counter.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
    };
    // A broken stream ends without a close_notify, which the API server takes for what it is.
    relay(tls, dialled.stream, hall.half_closed(), count).await.map_err(io::Error::other)
}

type Asked = Result<(Target, Bytes), String>;

/// Reads a request, and what came behind it.
async fn read(tls: &mut (impl AsyncRead + Unpin)) -> io::Result<Asked> {
    let mut said = Vec::new();
    loop {
        match parse(&said) {
            Ok(Head::Connect(target, length)) => {
                return Ok(Ok((target, Bytes::from(said.split_off(length)))));
            }
            Ok(Head::Incomplete) => {}
            Err(why) => return Ok(Err(why.to_string())),
        }
        said.reserve(MAX_HEAD);
        if tls.read_buf(&mut said).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Answers with a reason. Upstream shows it: `proxy error from …, code 503: 503 <reason>`.
async fn refuse(
    tls: &mut (impl AsyncWrite + Unpin),
    tunnel: &TenantTunnel,
    result: DialResult,
    why: &str,
) -> io::Result<()> {
    tunnel.stats.count(result);
    let (code, why) = (status(result), wire::printable(why));
    let answer = format!("HTTP/1.1 {code} {why}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    tls.write_all(answer.as_bytes()).await?;
    tls.shutdown().await
}

const fn status(result: DialResult) -> u16 {
    match result {
        DialResult::Connected => 200,
        DialResult::Malformed => 400,
        DialResult::Forbidden => 403,
        DialResult::Refused => 502,
        DialResult::NoAgent | DialResult::AgentFailed | DialResult::Limit => 503,
        DialResult::Unreachable => 504,
    }
}

fn too_late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "no request in time")
}
