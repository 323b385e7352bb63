//! The life of one connection: greet, find the tenant, get an API server, move bytes.
//!
//! The usual way needs no wait before bytes move: the ClientHello is there when the connection is accepted, an API server
//! is ready and takes the connection at once. Everything unusual (slow clients, holding, remote dialling, refusals) is
//! boxed, so that the thousands of connections that only move bytes stay small.

mod destination;
mod dial;
mod greet;
mod hold;
pub(crate) mod refuse;
mod relay;

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::net::TcpStream;

use crate::directory::Tenant;
use crate::greeting::Greeting;
use crate::node_tunnel::{Arrival, Whose};
use crate::proxy_protocol;
use crate::rejection::Rejection;
use crate::shared::{Seat, Shared};
use crate::socket;
use destination::Destination;

/// A client's socket, registered with the event loop only when something has to be waited for.
#[derive(Debug)]
pub(crate) enum Client {
    New(OwnedFd),
    Registered(TcpStream),
}

impl Client {
    fn registered(self) -> io::Result<TcpStream> {
        match self {
            Self::New(socket) => TcpStream::from_std(socket.into()),
            Self::Registered(stream) => Ok(stream),
        }
    }

    fn into_socket(self) -> io::Result<OwnedFd> {
        match self {
            Self::New(socket) => Ok(socket),
            Self::Registered(stream) => Ok(stream.into_std()?.into()),
        }
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::New(socket) => socket.as_fd(),
            Self::Registered(stream) => stream.as_fd(),
        }
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(seat: Seat, socket: OwnedFd, source: SocketAddr) {
    let refuse = |tenant, client, reason| Box::pin(refuse::refuse(&seat, tenant, client, source, reason));
    let (client, greeting) = match greet::greet(&seat, socket, source).await {
        Ok(greeted) => greeted,
        Err((client, reason)) => return refuse(None, client, reason).await,
    };
    let tenant = match destination::find(&seat, &client, &greeting).await {
        Ok(Destination::ApiServers(tenant)) => tenant,
        Ok(Destination::Tunnel(whose)) => {
            return Box::pin(enter_tunnel(seat, client, greeting, source, whose)).await;
        }
        Err(reason) => return refuse(None, Some(client), reason).await,
    };
    let opening = opening(&seat, &client, greeting, source, &tenant);
    let Some(_permit) = tenant.open().enter() else {
        return refuse(Some(&tenant), Some(client), Rejection::TenantConnections).await;
    };
    tenant.stats().accepted.fetch_add(1, Ordering::Relaxed);
    let Ok(mut client) = client.registered() else { return };
    if let Err(reason) = relay::relay(&seat, &tenant, &mut client, opening).await {
        refuse(Some(&tenant), Some(Client::Registered(client)), reason).await;
    }
}

/// Hands a connection to the thread of the tunnels.
async fn enter_tunnel(seat: Seat, client: Client, greeting: Box<Greeting>, source: SocketAddr, whose: Whose) {
    let Ok(socket) = client.into_socket() else { return };
    let shared = Arc::clone(&seat);
    let arrival = Arrival { socket, said: greeting.bytes, source, seat, whose };
    if let Err(Arrival { socket, seat, .. }) = shared.tunnels.enter(arrival) {
        let client = Some(Client::New(socket));
        refuse::refuse(&seat, None, client, source, Rejection::TunnelHandshakes).await;
    }
}

/// What the client said, behind a PROXY header if API servers get one.
fn opening(
    shared: &Shared,
    client: &Client,
    greeting: Box<Greeting>,
    source: SocketAddr,
    tenant: &Tenant,
) -> Vec<u8> {
    if !shared.config.proxy.send {
        return greeting.bytes;
    }
    let (source, target) = greeting
        .addresses
        .or_else(|| Some((source, socket::local_address(client).ok()?)))
        .unwrap_or((source, shared.config.listen));
    let host = greeting.server_name.as_ref().map_or(tenant.host(), |name| name.as_str());
    let mut opening = proxy_protocol::build(source, target, Some(host));
    opening.extend_from_slice(&greeting.bytes);
    opening
}

#[cfg(test)]
mod tests;
