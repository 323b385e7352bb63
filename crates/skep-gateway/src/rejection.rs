//! Why a connection was not, or no longer, served: a closed set that is metric label, log field and TLS alert at once.

use crate::hello::HelloError;
use crate::proxy_protocol::ProxyError;

/// A reason to close a connection before it reached an API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rejection {
    /// As many connections are open as the gateway may have.
    Connections,
    /// The source opens connections faster than it may.
    SourceRate,
    /// Too many connections have not finished their ClientHello.
    Handshakes,
    /// No complete ClientHello in time.
    HandshakeTimeout,
    /// The client closed before its ClientHello was complete.
    HandshakeAborted,
    /// Not TLS.
    NotTls,
    /// A ClientHello that is none.
    Malformed,
    /// A ClientHello above the limit.
    HelloTooLarge,
    /// A ClientHello without a server name.
    NoServerName,
    /// A server name that no tenant has.
    UnknownServerName,
    /// Its source is not trusted, and everybody must come through a load balancer.
    ProxyUntrusted,
    /// A PROXY header that is none, or none where there must be one.
    ProxyMalformed,
    /// The tenant has as many open connections as it may.
    TenantConnections,
    /// Too many connections wait for an API server.
    Held,
    /// Too many connections of this tenant wait for an API server.
    TenantHeld,
    /// No API server became ready in time.
    HoldTimeout,
    /// The client closed while it waited.
    HoldAborted,
    /// API servers took the connection and closed it without a byte, too often.
    NoAnswer,
    /// Too many TLS handshakes of tunnels at a time.
    TunnelHandshakes,
    /// The tenant's Secret for tunnels is not there or cannot be read.
    TunnelIdentity,
    /// The TLS handshake of a tunnel failed: no certificate, a foreign one, or not in time.
    TunnelTls,
    /// The certificate belongs to the tenant, but neither to a node nor to an API server.
    TunnelRole,
    /// The tenant has as many agents or connections from API servers as it may.
    TunnelConnections,
}

/// Fatal alerts of RFC 8446 section 6.
mod alert {
    pub(super) const UNEXPECTED_MESSAGE: u8 = 10;
    pub(super) const RECORD_OVERFLOW: u8 = 22;
    pub(super) const DECODE_ERROR: u8 = 50;
    pub(super) const INTERNAL_ERROR: u8 = 80;
    pub(super) const UNRECOGNIZED_NAME: u8 = 112;
}

impl Rejection {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();

    /// All of them, in the order of their index.
    pub const ALL: [Self; 23] = [
        Self::Connections,
        Self::SourceRate,
        Self::Handshakes,
        Self::HandshakeTimeout,
        Self::HandshakeAborted,
        Self::NotTls,
        Self::Malformed,
        Self::HelloTooLarge,
        Self::NoServerName,
        Self::UnknownServerName,
        Self::ProxyUntrusted,
        Self::ProxyMalformed,
        Self::TenantConnections,
        Self::Held,
        Self::TenantHeld,
        Self::HoldTimeout,
        Self::HoldAborted,
        Self::NoAnswer,
        Self::TunnelHandshakes,
        Self::TunnelIdentity,
        Self::TunnelTls,
        Self::TunnelRole,
        Self::TunnelConnections,
    ];

    /// Value of the metric label `reason`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::SourceRate => "source_rate",
            Self::Handshakes => "handshakes",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::HandshakeAborted => "handshake_aborted",
            Self::NotTls => "not_tls",
            Self::Malformed => "malformed",
            Self::HelloTooLarge => "hello_too_large",
            Self::NoServerName => "no_server_name",
            Self::UnknownServerName => "unknown_server_name",
            Self::ProxyUntrusted => "proxy_untrusted",
            Self::ProxyMalformed => "proxy_malformed",
            Self::TenantConnections => "tenant_connections",
            Self::Held => "held",
            Self::TenantHeld => "tenant_held",
            Self::HoldTimeout => "hold_timeout",
            Self::HoldAborted => "hold_aborted",
            Self::NoAnswer => "no_answer",
            Self::TunnelHandshakes => "tunnel_handshakes",
            Self::TunnelIdentity => "tunnel_identity",
            Self::TunnelTls => "tunnel_tls",
            Self::TunnelRole => "tunnel_role",
            Self::TunnelConnections => "tunnel_connections",
        }
    }

    /// The error page for people who meet it: `SKEP-6004` names, `6005` waiting, `6006` limits, `6007` handshakes,
    /// `6008` PROXY headers, `8083` to `8085` tunnels.
    pub const fn code(self) -> u16 {
        match self {
            Self::NoServerName | Self::UnknownServerName => 6004,
            Self::HoldTimeout | Self::HoldAborted | Self::NoAnswer => 6005,
            Self::Connections
            | Self::SourceRate
            | Self::Handshakes
            | Self::TenantConnections
            | Self::Held
            | Self::TenantHeld => 6006,
            Self::HandshakeTimeout
            | Self::HandshakeAborted
            | Self::NotTls
            | Self::Malformed
            | Self::HelloTooLarge => 6007,
            Self::ProxyUntrusted | Self::ProxyMalformed => 6008,
            Self::TunnelIdentity => 8083,
            Self::TunnelTls | Self::TunnelRole => 8084,
            Self::TunnelHandshakes | Self::TunnelConnections => 8085,
        }
    }

    /// The TLS record that tells the client, if it speaks TLS and is worth a packet.
    pub(crate) fn alert(self) -> Option<[u8; 7]> {
        let description = match self {
            Self::NoServerName | Self::UnknownServerName => alert::UNRECOGNIZED_NAME,
            Self::Malformed => alert::DECODE_ERROR,
            Self::HelloTooLarge => alert::RECORD_OVERFLOW,
            Self::NotTls => alert::UNEXPECTED_MESSAGE,
            Self::TenantConnections
            | Self::Held
            | Self::TenantHeld
            | Self::HoldTimeout
            | Self::NoAnswer
            | Self::TunnelHandshakes
            | Self::TunnelIdentity => alert::INTERNAL_ERROR,
            _ => return None,
        };
        // Record: alert (21), TLS 1.2 as every version writes it, two bytes; fatal (2) and what.
        Some([21, 3, 3, 0, 2, 2, description])
    }

    /// Place in [`Self::ALL`].
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl From<HelloError> for Rejection {
    fn from(error: HelloError) -> Self {
        match error {
            HelloError::NotTls => Self::NotTls,
            HelloError::Malformed => Self::Malformed,
            HelloError::TooLarge => Self::HelloTooLarge,
            HelloError::BadName => Self::UnknownServerName,
        }
    }
}

impl From<ProxyError> for Rejection {
    fn from(_: ProxyError) -> Self {
        Self::ProxyMalformed
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_reason_has_its_place_and_its_own_label() {
        for (index, reason) in Rejection::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), index);
        }
        let labels: BTreeSet<_> = Rejection::ALL.iter().map(|r| r.label()).collect();
        assert_eq!(labels.len(), Rejection::COUNT);
    }

    #[test]
    fn names_are_answered_with_unrecognized_name() {
        assert_eq!(Rejection::UnknownServerName.alert(), Some([21, 3, 3, 0, 2, 2, 112]));
        assert_eq!(Rejection::NoServerName.alert(), Some([21, 3, 3, 0, 2, 2, 112]));
    }
}
