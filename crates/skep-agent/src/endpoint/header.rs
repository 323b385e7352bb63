//! What the gateway hears first on a connection: PROXY protocol, version 2 ("The PROXY protocol", section 2.2,
//! haproxy.org, revision 2020/03/05).

use std::net::SocketAddrV4;

/// The twelve bytes every header starts with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Version 2, a connection of somebody else.
const PROXIED: u8 = 0x21;
/// IPv4, TCP.
const TCP4: u8 = 0x11;
/// Field with the host name the client means.
const AUTHORITY: u8 = 0x02;
/// Longest DNS name.
const MAX_NAME: usize = 253;

/// The header of a connection from `source` to `target` that is meant for `authority`. Of a longer name than there are
/// only the beginning is said, which is nobody's.
pub(super) fn header(source: SocketAddrV4, target: SocketAddrV4, authority: &str) -> Vec<u8> {
    let name = authority.as_bytes();
    let name = name.get(..MAX_NAME).unwrap_or(name);
    let mut body = Vec::new();
    body.extend(source.ip().octets());
    body.extend(target.ip().octets());
    body.extend(source.port().to_be_bytes());
    body.extend(target.port().to_be_bytes());
    body.push(AUTHORITY);
    body.extend(length(name));
    body.extend(name);
    let mut header = SIGNATURE.to_vec();
    header.extend([PROXIED, TCP4]);
    header.extend(length(&body));
    header.extend(body);
    header
}

/// Nothing here is longer than a name and two addresses.
fn length(bytes: &[u8]) -> [u8; 2] {
    u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_the_document_describes() {
        let (source, target) = ([10, 244, 1, 7], [198, 18, 0, 1]);
        let header =
            header(SocketAddrV4::new(source.into(), 0x1234), SocketAddrV4::new(target.into(), 6443), "a.b");
        let expected: [&[u8]; 7] = [
            b"\r\n\r\n\0\r\nQUIT\n",
            // Version and command, family and protocol, length of what follows.
            &[0x21, 0x11, 0, 18],
            &source,
            &target,
            &[0x12, 0x34, 0x19, 0x2b],
            // Authority, three bytes.
            &[2, 0, 3],
            b"a.b",
        ];
        assert_eq!(header, expected.concat());
    }

    #[test]
    fn an_impossible_name_is_cut() {
        let address = SocketAddrV4::new([127, 0, 0, 1].into(), 1);
        assert!(header(address, address, &"a".repeat(70_000)).len() < 300);
    }
}
