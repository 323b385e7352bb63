//! Writing a header.

use std::net::{IpAddr, SocketAddr};

use super::{FIXED, SIGNATURE, crc32c::crc32c, tlv};

/// The header of a connection from `source` to `target`, with the host the client asked for and a checksum.
///
/// A host above 255 bytes, which no caller has, is left out.
pub fn build(source: SocketAddr, target: SocketAddr, authority: Option<&str>) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    let family = match (source.ip().to_canonical(), target.ip().to_canonical()) {
        (IpAddr::V4(source), IpAddr::V4(target)) => {
            body.extend_from_slice(&source.octets());
            body.extend_from_slice(&target.octets());
            0x11
        }
        // One address of each family: both are written as IPv6.
        (source, target) => {
            for ip in [source, target] {
                let ip = match ip {
                    IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                    IpAddr::V6(ip) => ip,
                };
                body.extend_from_slice(&ip.octets());
            }
            0x21
        }
    };
    body.extend_from_slice(&source.port().to_be_bytes());
    body.extend_from_slice(&target.port().to_be_bytes());
    if let Some((host, length)) = authority.and_then(|host| Some((host, u8::try_from(host.len()).ok()?))) {
        body.extend_from_slice(&[tlv::AUTHORITY, 0, length]);
        body.extend_from_slice(host.as_bytes());
    }
    body.extend_from_slice(&[tlv::CRC32C, 0, 4]);
    // Addresses, one name and a checksum are far below 2^16.
    let length = u16::try_from(body.len() + 4).unwrap_or(u16::MAX);
    let mut header = Vec::with_capacity(FIXED + usize::from(length));
    header.extend_from_slice(&SIGNATURE);
    header.extend_from_slice(&[0x21, family]);
    header.extend_from_slice(&length.to_be_bytes());
    header.extend_from_slice(&body);
    let sum = crc32c(&[&header, &[0; 4]]);
    header.extend_from_slice(&sum.to_be_bytes());
    header
}
