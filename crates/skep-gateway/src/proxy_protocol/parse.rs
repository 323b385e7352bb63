//! Reading a header.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{FIXED, Header, MAX_HEADER, SIGNATURE, crc32c::crc32c, tlv};
use crate::hello::ServerName;

/// Outcome of reading.
#[derive(Clone, Debug, PartialEq, Eq)]
// Lives for a moment on the stack.
#[allow(clippy::large_enum_variant)]
pub enum Parsed {
    /// These are not the first bytes of a header.
    Absent,
    /// They may be; there must be at least this many before it is worth looking again.
    Incomplete(usize),
    /// A header, and how many bytes it took.
    Complete(Header, usize),
}

/// Why bytes with the signature are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// Neither version 2 nor a known command.
    #[error("unknown version or command")]
    Version,
    /// A length is impossible, or above [`MAX_HEADER`].
    #[error("impossible length")]
    Length,
    /// The checksum in it is wrong.
    #[error("wrong checksum")]
    Checksum,
}

/// Reads a header from the first bytes of a connection.
pub fn parse(bytes: &[u8]) -> Result<Parsed, ProxyError> {
    if !bytes.iter().zip(SIGNATURE).all(|(&have, want)| have == want) {
        return Ok(Parsed::Absent);
    }
    let Some((fixed, rest)) = bytes.split_first_chunk::<FIXED>() else {
        return Ok(Parsed::Incomplete(FIXED));
    };
    let [.., command, family, high, low] = *fixed;
    let local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(ProxyError::Version),
    };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if FIXED + length > MAX_HEADER {
        return Err(ProxyError::Length);
    }
    let Some(body) = rest.get(..length) else { return Ok(Parsed::Incomplete(FIXED + length)) };
    let (addresses, tlvs) = addresses(family, body)?;
    let authority = fields(fixed, body, tlvs)?;
    let addresses = if local { None } else { addresses };
    Ok(Parsed::Complete(Header { addresses, authority }, FIXED + length))
}

type Addresses = Option<(SocketAddr, SocketAddr)>;

/// The addresses and what follows them. Families without an IP address are passed over, as the protocol asks.
fn addresses(family: u8, body: &[u8]) -> Result<(Addresses, &[u8]), ProxyError> {
    fn pair<const N: usize>(body: &[u8], ip: fn([u8; N]) -> IpAddr) -> Option<(Addresses, &[u8])> {
        let (&source, body) = body.split_first_chunk::<N>()?;
        let (&target, body) = body.split_first_chunk::<N>()?;
        let (&source_port, body) = body.split_first_chunk::<2>()?;
        let (&target_port, body) = body.split_first_chunk::<2>()?;
        let address = |a, port| SocketAddr::new(ip(a).to_canonical(), u16::from_be_bytes(port));
        Some((Some((address(source, source_port), address(target, target_port))), body))
    }
    // High half: address family (1 IPv4, 2 IPv6, 3 Unix); low half: transport, which must be a stream here.
    match family {
        0x11 => pair::<4>(body, |a| Ipv4Addr::from(a).into()),
        0x21 => pair::<16>(body, |a| Ipv6Addr::from(a).into()),
        0x31 => body.split_at_checked(216).map(|(_, rest)| (None, rest)),
        // Unspecified and everything else: the length says how much to pass over, and there is nothing to read.
        _ => Some((None, &[][..])),
    }
    .ok_or(ProxyError::Length)
}

/// Reads the authority and checks the checksum if there is one.
fn fields(fixed: &[u8], body: &[u8], mut tlvs: &[u8]) -> Result<Option<ServerName>, ProxyError> {
    let mut authority = None;
    while let Some((&[kind, high, low], rest)) = tlvs.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (value, rest) = rest.split_at_checked(length).ok_or(ProxyError::Length)?;
        match kind {
            tlv::AUTHORITY => authority = ServerName::parse(value),
            tlv::CRC32C => {
                let sum = u32::from_be_bytes(value.try_into().map_err(|_| ProxyError::Length)?);
                let before = body.get(..body.len() - rest.len() - value.len()).unwrap_or_default();
                if crc32c(&[fixed, before, &[0; 4], rest]) != sum {
                    return Err(ProxyError::Checksum);
                }
            }
            _ => {}
        }
        tlvs = rest;
    }
    if tlvs.is_empty() { Ok(authority) } else { Err(ProxyError::Length) }
}
