//! A connection to a gateway, up to the end of the TLS handshake.

use std::io;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::error::TunnelError;
use super::settings::Settings;
use super::{credentials, wire};

/// Connects. The certificate is read each time: the kubelet replaces it.
pub(super) async fn connect(settings: &Settings) -> Result<TlsStream<TcpStream>, TunnelError> {
    let (node, gateway) = (|| settings.node.clone(), || settings.gateway.clone());
    let config = credentials::config(&settings.authorities, &settings.credentials).map_err(|reason| {
        TunnelError::Credentials { node: node(), path: settings.credentials.clone(), reason }
    })?;
    let name = ServerName::try_from(settings.server_name.clone()).map_err(|error| TunnelError::Protocol {
        gateway: gateway(),
        reason: format!("{} cannot be a server name: {error}", settings.server_name),
    })?;
    let dial = async {
        let stream = TcpStream::connect(&settings.gateway).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    let late = |_| Err(io::Error::from(io::ErrorKind::TimedOut));
    let patience = settings.timing.connect;
    let stream = timeout(patience, dial)
        .await
        .unwrap_or_else(late)
        .map_err(|source| TunnelError::Connect { node: node(), gateway: gateway(), source })?;
    let handshake = TlsConnector::from(Arc::clone(&config)).connect(name, stream);
    let tls = timeout(patience, handshake)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(|source| TunnelError::Handshake { node: node(), gateway: gateway(), source })?;
    if tls.get_ref().1.alpn_protocol() != Some(wire::ALPN) {
        return Err(TunnelError::Protocol {
            gateway: gateway(),
            reason: "it agreed on no protocol (ALPN)".into(),
        });
    }
    Ok(tls)
}
