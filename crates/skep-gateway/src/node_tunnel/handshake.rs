//! From a connection to somebody who is known.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::UnixTime;
use skep_agent::tunnel::wire::ALPN;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::hall::Hall;
use super::identity::{Peer, Role};
use super::replay::Replay;
use crate::directory::Tenant;
use crate::hello::ServerName;
use crate::rejection::Rejection;

/// A connection whose other end is known.
pub(super) struct Known {
    pub(super) tenant: Arc<Tenant>,
    pub(super) role: Role,
    pub(super) tls: TlsStream<Replay>,
}

/// Why a connection is not served; the socket is given back as long as the client can be told in plain.
pub(super) type Refused = (Option<TcpStream>, Rejection);

/// Somebody who asked for the tunnel of this tenant.
pub(super) async fn of_tenant(
    hall: &Hall,
    tenant: Arc<Tenant>,
    said: Vec<u8>,
    stream: TcpStream,
) -> Result<Known, Refused> {
    let tunnel = Arc::clone(tenant.tunnel_within(hall.config()));
    let Some(_handshake) = tunnel.handshakes.enter() else {
        return Err((Some(stream), Rejection::TunnelHandshakes));
    };
    let identity = match hall.keeper().tenant(&tenant, &tunnel.identity).await {
        Ok(identity) => identity,
        Err(error) => {
            let code = Rejection::TunnelIdentity.code();
            tracing::warn!(tenant = tenant.id(), %error, code, "tunnels of a tenant cannot be served");
            return Err((Some(stream), Rejection::TunnelIdentity));
        }
    };
    let tls = match accept(identity.server(), said, stream, hall.patience()).await {
        Ok(tls) => tls,
        Err(error) => {
            tracing::debug!(tenant = tenant.id(), %error, "tunnel: handshake failed");
            if is_about_tls(&error) {
                hall.keeper().doubt(&tunnel.identity).await;
            }
            return Err((None, Rejection::TunnelTls));
        }
    };
    let role = identity.role(tls.get_ref().1.peer_certificates().unwrap_or_default(), UnixTime::now());
    // Each role speaks its own protocol: an agent that could pose as an API server would have to leave this one out.
    match (role, tls.get_ref().1.alpn_protocol()) {
        (Some(role @ Role::Agent { .. }), Some(ALPN)) | (Some(role @ Role::ApiServer), None) => {
            Ok(Known { tenant, role, tls })
        }
        _ => Err((None, Rejection::TunnelRole)),
    }
}

/// Somebody who could not say whom they want. They can only be API servers.
pub(super) async fn at_door(hall: &Hall, said: Vec<u8>, stream: TcpStream) -> Result<Known, Refused> {
    let door = hall.keeper().door().await;
    hall.know_door(door.as_deref().and_then(Option::as_ref));
    let Some(door) = door.as_deref().and_then(Option::as_ref) else {
        return Err((Some(stream), Rejection::NoServerName));
    };
    let tls = accept(door.server(), said, stream, hall.patience()).await.map_err(|error| {
        tracing::debug!(%error, "tunnel: handshake at the door failed");
        (None, Rejection::TunnelTls)
    })?;
    let chain = tls.get_ref().1.peer_certificates().unwrap_or_default();
    let refused = (None, Rejection::TunnelRole);
    let hints = chain.first().and_then(Peer::read).map(|peer| peer.organizations).unwrap_or_default();
    let tenant = hints.iter().find_map(|hint| hall.tenant(&ServerName::parse(hint.as_bytes())?));
    let Some(tenant) = tenant else { return Err(refused) };
    let tunnel = Arc::clone(tenant.tunnel_within(hall.config()));
    let Ok(identity) = hall.keeper().tenant(&tenant, &tunnel.identity).await else { return Err(refused) };
    // So far nothing is proven but the possession of a key. This is what lets in.
    match identity.role(chain, UnixTime::now()) {
        Some(role @ Role::ApiServer) => Ok(Known { tenant, role, tls }),
        _ => {
            hall.keeper().doubt(&tunnel.identity).await;
            Err(refused)
        }
    }
}

async fn accept(
    config: Arc<ServerConfig>,
    said: Vec<u8>,
    stream: TcpStream,
    patience: Duration,
) -> io::Result<TlsStream<Replay>> {
    let handshake = TlsAcceptor::from(config).accept(Replay::new(said, stream));
    timeout(patience, handshake).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Whether it failed because the two do not understand or believe each other: perhaps the authorities are newer than what
/// was read.
fn is_about_tls(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|error| error.is::<rustls::Error>())
}
