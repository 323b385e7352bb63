//! PROXY protocol, version 2: who the client is when something stands before the gateway.
//!
//! Source of the layout: "The PROXY protocol", section 2.2 (haproxy.org, revision 2020/03/05).
//! Reading is total and needs at most [`MAX_HEADER`] bytes; what is longer is refused.

mod build;
mod crc32c;
mod parse;

pub use build::build;
pub use parse::{Parsed, ProxyError, parse};

use std::net::SocketAddr;

use crate::hello::ServerName;

/// The twelve bytes every header starts with. No TLS record and no HTTP request does.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Longest header that is read, with its TLVs. Real ones are below 536 bytes so that they fit one segment.
pub const MAX_HEADER: usize = 2048;
/// Signature, version and command, family and protocol, length.
const FIXED: usize = 16;

/// Type-length-value fields that are read or written.
mod tlv {
    /// Host name the client asked for.
    pub(super) const AUTHORITY: u8 = 0x02;
    /// Checksum of the header with this field zero.
    pub(super) const CRC32C: u8 = 0x03;
}

/// What a header says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// The client and the address it connected to; none for connections of the proxy itself (health checks) and for
    /// families that have no address here.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
    /// Host the client asked for, if the proxy knows it and it is a host name.
    pub authority: Option<ServerName>,
}

#[cfg(test)]
mod tests;
