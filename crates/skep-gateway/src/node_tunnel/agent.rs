//! One agent: its connection, its streams, its end.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use skep_agent::tunnel::relay::Stream;
use skep_agent::tunnel::wire::{self, Refusal};
use skep_agent::tunnel::{Target, silent};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::hall::Hall;
use super::tenant::TenantTunnel;
use crate::clock;
use crate::directory::Tenant;
use crate::limits::{Gate, Permit};
use crate::rejection::Rejection;

/// How long an agent that did not answer is asked last.
const SUSPECT: Duration = Duration::from_secs(30);
/// For a farewell to be heard, and for an agent to close after its last stream.
const FAREWELL: Duration = Duration::from_secs(2);

/// A connected agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) id: u64,
    pub(super) node: String,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) streams: Arc<Gate>,
    sender: SendRequest<Bytes>,
    suspect_until: AtomicU64,
}

/// Why an agent did not connect a stream.
#[derive(Debug)]
pub(super) enum Failed {
    /// It says so.
    Refusal(Refusal, String),
    /// Its connection does not work, or it has as many streams as it may.
    Tunnel(String),
}

impl From<h2::Error> for Failed {
    fn from(error: h2::Error) -> Self {
        Self::Tunnel(error.to_string())
    }
}

impl Agent {
    fn new(node: String, addresses: Vec<IpAddr>, sender: SendRequest<Bytes>) -> Self {
        let streams = Gate::new(usize::try_from(wire::STREAMS).unwrap_or(usize::MAX));
        Self { id: 0, node, addresses, streams, sender, suspect_until: AtomicU64::new(0) }
    }

    /// A stream to a target. Not bounded in time: dropping the future gives the stream up.
    pub(super) async fn open(&self, target: &Target) -> Result<(Stream, Permit), Failed> {
        let busy = || Failed::Tunnel("as many streams as it may have".into());
        let permit = self.streams.enter().ok_or_else(busy)?;
        let impossible = |error: http::Error| Failed::Refusal(Refusal::Malformed, error.to_string());
        let authority = Authority::try_from(target.to_string()).map_err(|error| impossible(error.into()))?;
        let request = Request::builder().method(Method::CONNECT).uri(Uri::from(authority));
        let request = request.body(()).map_err(impossible)?;
        let mut sender = self.sender.clone().ready().await?;
        let (response, send) = sender.send_request(request, false)?;
        let (head, receive) = response.await?.into_parts();
        if head.status == StatusCode::OK {
            self.suspect_until.store(0, Ordering::Relaxed);
            return Ok((Stream { send, receive }, permit));
        }
        let why = wire::reason_in(&head.headers).unwrap_or_else(|| head.status.to_string());
        match Refusal::of(head.status) {
            None | Some(Refusal::Busy | Refusal::Known) => Err(Failed::Tunnel(why)),
            Some(refusal) => Err(Failed::Refusal(refusal, why)),
        }
    }

    /// It did not answer: others are asked first for a while.
    pub(super) fn doubt(&self) {
        self.suspect_until.store(clock::after(SUSPECT), Ordering::Relaxed);
    }

    pub(super) fn is_suspect(&self) -> bool {
        clock::is_ahead(self.suspect_until.load(Ordering::Relaxed))
    }

    /// A request that is no stream; its answer's headers.
    async fn ask(&self, path: &'static str, headers: HeaderMap) -> Result<HeaderMap, Failed> {
        ask(&self.sender, path, headers).await
    }
}

async fn ask(
    sender: &SendRequest<Bytes>,
    path: &'static str,
    headers: HeaderMap,
) -> Result<HeaderMap, Failed> {
    let mut request = Request::new(());
    // The scheme and a host belong to every request but a CONNECT.
    *request.uri_mut() = Uri::builder()
        .scheme("https")
        .authority("agent")
        .path_and_query(path)
        .build()
        .map_err(|error| Failed::Tunnel(error.to_string()))?;
    *request.headers_mut() = headers;
    let mut sender = sender.clone().ready().await?;
    let (response, _) = sender.send_request(request, true)?;
    let (head, _) = response.await?.into_parts();
    match Refusal::of(head.status) {
        None if head.status == StatusCode::OK => Ok(head.headers),
        None => Err(Failed::Tunnel(head.status.to_string())),
        Some(refusal) => Err(Failed::Refusal(refusal, wire::reason_in(&head.headers).unwrap_or_default())),
    }
}

/// Who an agent is, as its certificate says.
pub(super) struct Credentials {
    pub(super) node: String,
    /// When the certificate ends, seconds since 1970.
    pub(super) until: i64,
}

/// Serves an agent until its connection ends, its certificate does, its tenant is gone, or the gateway stops and its last
/// stream has ended.
///
/// # Errors
/// It got no place, or did not speak as agents do.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    hall: &Hall,
    tenant: &Tenant,
    tunnel: &TenantTunnel,
    tls: S,
    credentials: Credentials,
) -> Result<(), Rejection> {
    let _place = tunnel.places.enter().ok_or(Rejection::TunnelConnections)?;
    let patience = hall.patience();
    let handshake = timeout(patience, handshake(tls)).await;
    let Ok(Ok((sender, mut connection))) = handshake else { return Err(Rejection::TunnelTls) };
    let ping = connection.ping_pong();
    let mut driver = Driver(tokio::spawn(async move { drop(connection.await) }));
    let introduction = timeout(patience, ask(&sender, wire::GREETING, hall.greeting())).await;
    let headers = match introduction {
        Ok(Ok(headers)) => headers,
        // It is connected to this gateway already and looks for another one.
        Ok(Err(Failed::Refusal(Refusal::Known, _))) => return Ok(()),
        Ok(Err(_)) | Err(_) => return Err(Rejection::TunnelTls),
    };
    let agent = tunnel.agents.join(Agent::new(credentials.node, addresses(&headers), sender));
    let (id, node) = (tenant.id(), agent.node.as_str());
    tracing::info!(tenant = id, node, addresses = ?agent.addresses, "node connected");
    let why = tokio::select! {
        _ = &mut driver.0 => "its connection ended",
        () = silent(ping, hall.config().keepalive, hall.config().keepalive / 2) => "it does not answer",
        () = tunnel.closed().cancelled() => "its tenant is gone",
        () = expired(credentials.until) => {
            wind_up(&agent, hall.winding_up()).await;
            "its certificate has ended"
        }
        () = hall.closing().cancelled() => {
            wind_up(&agent, hall.winding_up()).await;
            "the gateway stops"
        }
    };
    tunnel.agents.leave(&agent);
    tracing::info!(tenant = id, node, why, "node disconnected");
    // Without a handle the connection says goodbye and closes by itself when its last stream has ended.
    drop(agent);
    // One that has ended must not be asked again.
    if !driver.0.is_finished() {
        let _ = timeout(FAREWELL, &mut driver.0).await;
    }
    Ok(())
}

/// Ends the connection's task with whoever looks after it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Tells the agent to connect elsewhere, and waits for its last stream, within bounds.
async fn wind_up(agent: &Agent, patience: Duration) {
    let _ = timeout(FAREWELL, agent.ask(wire::FAREWELL, HeaderMap::new())).await;
    let _ = timeout(patience, agent.streams.emptied()).await;
}

async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: S,
) -> Result<(SendRequest<Bytes>, Connection<S, Bytes>), h2::Error> {
    Builder::new()
        .enable_push(false)
        .max_header_list_size(wire::MAX_HEADERS)
        .initial_window_size(wire::STREAM_WINDOW)
        .initial_connection_window_size(wire::CONNECTION_WINDOW)
        .max_send_buffer_size(wire::SEND_BUFFER)
        .handshake(tls)
        .await
}

/// Waits until a certificate has ended. The kubelet has another one long before: the agent comes again with that.
async fn expired(until: i64) {
    let end = SystemTime::UNIX_EPOCH + Duration::from_secs(until.max(0).unsigned_abs());
    // Looked at again now and then, because the machine's clock may be set.
    while let Ok(left) = end.duration_since(SystemTime::now()) {
        sleep(left.min(Duration::from_secs(3600))).await;
    }
}

fn addresses(headers: &HeaderMap) -> Vec<IpAddr> {
    let list = headers.get(wire::ADDRESSES).and_then(|value: &HeaderValue| value.to_str().ok());
    let parsed = list.unwrap_or_default().split(',').filter_map(|text| text.trim().parse::<IpAddr>().ok());
    parsed.map(|address| address.to_canonical()).take(wire::MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_says_of_itself_is_bounded() {
        let of = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            addresses(&HeaderMap::from_iter([(wire::ADDRESSES, value)]))
        };
        assert_eq!(of("10.0.0.1, fd00::1,::ffff:10.0.0.2,noise,"), of("10.0.0.1,fd00::1,10.0.0.2"));
        assert_eq!(of("10.0.0.1, fd00::1,::ffff:10.0.0.2,noise,").len(), 3);
        assert_eq!(of(&["10.0.0.1"; 100].join(",")).len(), wire::MAX_ADDRESSES);
        assert!(addresses(&HeaderMap::new()).is_empty());
    }
}
