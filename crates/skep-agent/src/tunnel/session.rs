//! One connection to one gateway: greeting, streams, end.

mod stream;

use std::pin::pin;
use std::sync::Arc;

use bytes::Bytes;
use h2::RecvStream;
use h2::server::{Builder, Connection, SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use super::error::TunnelError;
use super::keepalive::silent;
use super::meeting::{Meeting, Met};
use super::settings::Settings;
use super::wire::{self, Refusal};

/// How a connection came to an end that is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The gateway said that it stops.
    Farewell,
    /// The gateway is one that is connected already.
    Known,
    /// One side closed it in order.
    Closed,
}

type Asked = (Request<RecvStream>, SendResponse<Bytes>);

/// A connection.
pub(super) struct Session {
    settings: Settings,
    meeting: Arc<Meeting>,
    shutdown: CancellationToken,
    farewell: CancellationToken,
}

impl Session {
    pub(super) fn new(settings: Settings, meeting: Arc<Meeting>, shutdown: CancellationToken) -> Self {
        Self { settings, meeting, shutdown, farewell: CancellationToken::new() }
    }

    /// Cancelled when the gateway says that it stops.
    pub(super) fn farewell(&self) -> CancellationToken {
        self.farewell.clone()
    }

    /// Serves the gateway until the connection ends.
    pub(super) async fn run(self, tls: TlsStream<TcpStream>) -> Result<Ended, TunnelError> {
        let timing = self.settings.timing;
        let greeted = timeout(timing.connect, self.greet(tls)).await;
        let (mut connection, met) = match greeted.unwrap_or_else(|_| Err(self.lost("it did not greet")))? {
            (connection, Some(met)) => (connection, met),
            (mut connection, None) => {
                connection.graceful_shutdown();
                let _ = timeout(timing.connect, connection.accept()).await;
                return Ok(Ended::Known);
            }
        };
        tracing::info!(node = self.settings.node, gateway = self.settings.gateway, "tunnel is up");
        let mut silent = pin!(silent(connection.ping_pong(), timing.keepalive, timing.pong));
        let mut drained = pin!(sleep_until(Instant::now()));
        // Counts as connected while it brings new streams.
        let (mut met, mut ending) = (Some(met), false);
        loop {
            tokio::select! {
                asked = connection.accept() => match asked {
                    None => return Ok(Ended::Closed),
                    Some(Err(error)) => return Err(self.lost(error)),
                    Some(Ok((request, respond))) if request.uri().path() == wire::FAREWELL => {
                        answer(respond, Ok(HeaderMap::new()));
                        drop(met.take());
                        self.farewell.cancel();
                    }
                    Some(Ok(asked)) => self.take(asked),
                },
                () = &mut silent => return Err(self.lost("no answer to a ping")),
                () = self.shutdown.cancelled(), if !ending => {
                    ending = true;
                    drop(met.take());
                    connection.graceful_shutdown();
                    drained.as_mut().reset(Instant::now() + timing.drain);
                }
                () = &mut drained, if ending => return Ok(Ended::Closed),
            }
        }
    }

    /// HTTP/2 and the gateway's first request; nothing is met if the gateway is known.
    async fn greet(
        &self,
        tls: TlsStream<TcpStream>,
    ) -> Result<(Connection<TlsStream<TcpStream>, Bytes>, Option<Met>), TunnelError> {
        let mut connection = Builder::new()
            .max_concurrent_streams(wire::STREAMS)
            .max_header_list_size(wire::MAX_HEADERS)
            .initial_window_size(wire::STREAM_WINDOW)
            .initial_connection_window_size(wire::CONNECTION_WINDOW)
            .max_send_buffer_size(wire::SEND_BUFFER)
            .handshake(tls)
            .await
            .map_err(|error| self.lost(error))?;
        let Some((request, respond)) = connection.accept().await.transpose().map_err(|e| self.lost(e))?
        else {
            return Err(self.lost("it closed before it greeted"));
        };
        if request.uri().path() != wire::GREETING || request.method() != Method::GET {
            answer(respond, Err((Refusal::Malformed, "no greeting")));
            return Err(self.protocol("its first request is no greeting"));
        }
        let text = |name| request.headers().get(name).and_then(|value: &HeaderValue| value.to_str().ok());
        let Some(gateway) = text(wire::GATEWAY).filter(|id| (1..=64).contains(&id.len())) else {
            answer(respond, Err((Refusal::Malformed, "who are you")));
            return Err(self.protocol("it does not say which gateway it is"));
        };
        let gateways = text(wire::GATEWAYS).and_then(|number| number.parse().ok()).unwrap_or(1);
        let met = self.meeting.greeted(gateway, gateways);
        match &met {
            Some(_) => answer(respond, Ok(self.introduction())),
            None => answer(respond, Err((Refusal::Known, "connected already"))),
        }
        Ok((connection, met))
    }

    /// Who the agent is.
    fn introduction(&self) -> HeaderMap {
        let addresses = self.settings.addresses.iter().take(wire::MAX_ADDRESSES);
        let addresses = addresses.map(ToString::to_string).collect::<Vec<_>>().join(",");
        let mut headers = HeaderMap::new();
        headers.extend(HeaderValue::try_from(addresses).ok().map(|list| (wire::ADDRESSES, list)));
        headers.insert(wire::VERSION, HeaderValue::from_static(env!("CARGO_PKG_VERSION")));
        headers
    }

    /// Serves a request beside the others.
    fn take(&self, (request, respond): Asked) {
        if request.method() == Method::CONNECT {
            let (dial, half_closed) = (Arc::clone(&self.settings.dial), self.settings.timing.half_closed);
            tokio::spawn(stream::serve(request, respond, dial, half_closed));
        } else {
            answer(respond, Err((Refusal::Malformed, "not a CONNECT")));
        }
    }

    fn lost(&self, reason: impl ToString) -> TunnelError {
        let (node, gateway) = (self.settings.node.clone(), self.settings.gateway.clone());
        TunnelError::Lost { node, gateway, reason: reason.to_string() }
    }

    fn protocol(&self, reason: &str) -> TunnelError {
        TunnelError::Protocol { gateway: self.settings.gateway.clone(), reason: reason.to_owned() }
    }
}

/// Answers a request that is no stream.
fn answer(mut respond: SendResponse<Bytes>, with: Result<HeaderMap, (Refusal, &str)>) {
    let mut response = Response::new(());
    match with {
        Ok(headers) => *response.headers_mut() = headers,
        Err((refusal, why)) => {
            *response.status_mut() = refusal.status();
            response.headers_mut().insert(wire::REASON, wire::reason(why));
        }
    }
    // Fails only when the gateway has gone or no longer wants to know.
    let _ = respond.send_response(response, true);
}
