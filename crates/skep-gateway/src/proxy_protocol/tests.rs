use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn v4(last: u8, port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::new(192, 0, 2, last), port))
}

fn raw(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    [&SIGNATURE[..], &[command, family], &length, body].concat()
}

/// Addresses of 192.0.2.1:4 and 192.0.2.2:5.
const PAIR: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0, 4, 0, 5];

#[test]
fn reads_what_the_document_describes() {
    let whole = raw(0x21, 0x11, &PAIR);
    let header = Header { addresses: Some((v4(1, 4), v4(2, 5))), authority: None };
    assert_eq!(parse(&whole), Ok(Parsed::Complete(header, 28)));
}

#[test]
fn other_families_and_local_commands_have_no_address() {
    for (command, family, body) in
        [(0x20, 0, vec![]), (0x20, 0x11, PAIR.to_vec()), (0x21, 0, vec![1, 2]), (0x21, 0x31, vec![0; 216])]
    {
        let bytes = raw(command, family, &body);
        assert_eq!(parse(&bytes), Ok(Parsed::Complete(Header::default(), bytes.len())), "{family:#x}");
    }
}

#[test]
fn refuses_what_is_wrong() {
    let authority = |tlv: &[u8]| raw(0x21, 0x11, &[&PAIR[..], tlv].concat());
    for (what, bytes, error) in [
        ("version 1", raw(0x11, 0x11, &PAIR), ProxyError::Version),
        ("command", raw(0x22, 0x11, &PAIR), ProxyError::Version),
        ("short addresses", raw(0x21, 0x21, &PAIR), ProxyError::Length),
        ("too long", raw(0x21, 0x11, &[0; MAX_HEADER]), ProxyError::Length),
        ("field beyond the end", authority(&[2, 0, 9, b'a']), ProxyError::Length),
        ("half a field", authority(&[2, 0]), ProxyError::Length),
        ("checksum length", authority(&[3, 0, 1, 0]), ProxyError::Length),
        ("checksum", authority(&[3, 0, 4, 0, 0, 0, 0]), ProxyError::Checksum),
    ] {
        assert_eq!(parse(&bytes), Err(error), "{what}");
    }
}

#[test]
fn tls_and_http_have_no_header() {
    assert_eq!(parse(&[22, 3, 1]), Ok(Parsed::Absent));
    assert_eq!(parse(b"GET / HTTP/1.1\r\n\r\n"), Ok(Parsed::Absent));
    assert_eq!(parse(b"\r\n\r\nGET"), Ok(Parsed::Absent));
    assert_eq!(parse(b""), Ok(Parsed::Incomplete(FIXED)));
}

#[test]
fn an_authority_that_is_no_host_is_passed_over() {
    let bytes = raw(0x21, 0x11, &[&PAIR[..], &[2, 0, 3], b"a/b"].concat());
    assert!(matches!(parse(&bytes), Ok(Parsed::Complete(Header { authority: None, .. }, _))));
}

fn address() -> impl Strategy<Value = SocketAddr> {
    prop_oneof![
        (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::from((Ipv4Addr::from(ip), port))),
        (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| SocketAddr::from((Ipv6Addr::from(ip), port))),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        source in address(), target in address(), host in prop::option::of("[a-z0-9.-]{1,255}"),
        behind in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let header = build(source, target, host.as_deref());
        let expected = Header {
            addresses: Some((canonical(source), canonical(target))),
            authority: host.and_then(|h| ServerName::parse(h.as_bytes())),
        };
        let bytes = [header.as_slice(), &behind].concat();
        prop_assert_eq!(parse(&bytes), Ok(Parsed::Complete(expected, header.len())));
        for cut in 0..header.len() {
            match parse(&bytes[..cut]) {
                Ok(Parsed::Incomplete(least)) => prop_assert!(cut < least && least <= header.len()),
                other => prop_assert!(false, "{} bytes gave {:?}", cut, other),
            }
        }
    }

    #[test]
    fn a_flipped_bit_never_passes(
        source in address(), target in address(), byte in any::<prop::sample::Index>(), bit in 0u32..8,
    ) {
        let mut bytes = build(source, target, Some("demo.skep.internal"));
        // The last field is the checksum: what damages its own type or length may hide it, so stop before it.
        let at = byte.index(bytes.len() - 7);
        bytes[at] ^= 1 << bit;
        match parse(&bytes) {
            Ok(Parsed::Complete(header, _)) => {
                // Only a header whose damage made the rest unreadable to us (another family) gets here: it says nothing.
                prop_assert_eq!(header, Header::default());
            }
            Ok(Parsed::Absent | Parsed::Incomplete(_)) | Err(_) => {}
        }
    }

    #[test]
    fn arbitrary_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse(&bytes);
        let _ = parse(&[&SIGNATURE[..], &bytes].concat());
        let _ = parse(&raw(0x21, 0x11, &[&PAIR[..], &bytes].concat()));
    }
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
