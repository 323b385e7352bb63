use std::sync::Arc;

use proptest::prelude::*;
use rustls::client::{EchGreaseConfig, EchMode};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{DnsName, ServerName as RustlsName};
use rustls::server::Acceptor;

use super::*;

fn scan(bytes: &[u8]) -> Result<Option<Verdict>, HelloError> {
    Scanner::default().feed(bytes)
}

fn name(text: &str) -> Verdict {
    Verdict::Name(ServerName::parse(text.as_bytes()).unwrap())
}

fn client_config(ech: bool, alpn: &[&str]) -> Arc<rustls::ClientConfig> {
    let provider = rustls::crypto::CryptoProvider {
        kx_groups: vec![aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let provider = Arc::new(provider);
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = if ech {
        let suite = aws_lc_rs::hpke::ALL_SUPPORTED_SUITES[0];
        let (key, _) = suite.generate_key_pair().unwrap();
        builder.with_ech(EchMode::Grease(EchGreaseConfig::new(suite, key))).unwrap()
    } else {
        builder.with_safe_default_protocol_versions().unwrap()
    };
    let mut config = builder.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|p| p.as_bytes().to_vec()).collect();
    Arc::new(config)
}

/// A real ClientHello as rustls writes it, post-quantum key share included.
fn real_hello(host: &'static str, ech: bool, alpn: &[&str]) -> Vec<u8> {
    let name = RustlsName::try_from(host).unwrap();
    let mut client = rustls::ClientConnection::new(client_config(ech, alpn), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

fn records(message: &[u8], sizes: &[usize]) -> Vec<u8> {
    let (mut out, mut rest, mut sizes) = (Vec::new(), message, sizes.iter().cycle());
    while !rest.is_empty() {
        let n = (*sizes.next().unwrap()).clamp(1, rest.len());
        out.extend_from_slice(&[22, 3, 1]);
        out.extend_from_slice(&u16::try_from(n).unwrap().to_be_bytes());
        out.extend_from_slice(&rest[..n]);
        rest = &rest[n..];
    }
    out
}

fn list16(body: &[u8]) -> Vec<u8> {
    let mut out = u16::try_from(body.len()).unwrap().to_be_bytes().to_vec();
    out.extend_from_slice(body);
    out
}

/// A handshake message with these extensions, `None` for no extension list at all.
fn message(extensions: Option<&[(u16, Vec<u8>)]>, session_id: &[u8], suites: usize) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend_from_slice(&[7; 32]);
    body.push(u8::try_from(session_id.len()).unwrap());
    body.extend_from_slice(session_id);
    body.extend(list16(&vec![0x13; suites * 2]));
    body.extend_from_slice(&[1, 0]);
    if let Some(extensions) = extensions {
        let mut list = Vec::new();
        for (kind, data) in extensions {
            list.extend_from_slice(&kind.to_be_bytes());
            list.extend(list16(data));
        }
        body.extend(list16(&list));
    }
    let length = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[1, length[1], length[2], length[3]], body.as_slice()].concat()
}

fn server_name(host: &[u8]) -> (u16, Vec<u8>) {
    (0, list16(&[&[0], list16(host).as_slice()].concat()))
}

#[test]
fn reads_real_hellos() {
    for (host, ech) in [("demo-abcd2345.skep.internal", false), ("a.b", false), ("x.skep.internal", true)] {
        let bytes = real_hello(host, ech, &["h2", "http/1.1"]);
        assert_eq!(scan(&bytes), Ok(Some(name(host))), "{} bytes, ech {ech}", bytes.len());
    }
    // The post-quantum share alone is above a kilobyte: the hello does not fit into one small read.
    assert!(real_hello("a.b", false, &[]).len() > 1_200);
}

#[test]
fn an_address_has_no_server_name() {
    for (protocols, alpn) in [(false, &[][..]), (true, &["h2", "http/1.1"])] {
        let name = RustlsName::try_from("127.0.0.1").unwrap();
        let mut client = rustls::ClientConnection::new(client_config(false, alpn), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        assert_eq!(scan(&bytes), Ok(Some(Verdict::NoName { protocols })));
    }
}

#[test]
fn names_are_compared_in_lower_case() {
    let hello = records(&message(Some(&[server_name(b"DEMO.Skep.Internal")]), &[], 1), &[4096]);
    assert_eq!(scan(&hello), Ok(Some(name("demo.skep.internal"))));
}

#[test]
fn refuses_each_kind_of_nonsense() {
    let hello = |extensions: &[(u16, Vec<u8>)]| records(&message(Some(extensions), &[], 1), &[4096]);
    for (what, bytes, error) in [
        ("http", b"GET / HTTP/1.1\r\n".to_vec(), HelloError::NotTls),
        ("ssl 2", vec![0x80, 0x2e, 1, 0, 2], HelloError::NotTls),
        ("alert", vec![21, 3, 3, 0, 2, 1, 0], HelloError::NotTls),
        ("version", vec![22, 2], HelloError::Malformed),
        ("empty record", vec![22, 3, 1, 0, 0], HelloError::Malformed),
        ("huge record", vec![22, 3, 1, 0x40, 1], HelloError::Malformed),
        ("server hello", vec![22, 3, 1, 0, 4, 2], HelloError::Malformed),
        ("too large", vec![22, 3, 1, 0, 4, 1, 0, 0x40, 1], HelloError::TooLarge),
        ("second record is none", [records(&[1, 0, 0, 50], &[4]), vec![23]].concat(), HelloError::Malformed),
        ("session id", records(&message(None, &[0; 33], 1), &[4096]), HelloError::Malformed),
        ("no cipher suites", records(&message(None, &[], 0), &[4096]), HelloError::Malformed),
        ("empty name list", hello(&[(0, vec![0, 0])]), HelloError::Malformed),
        ("empty extension", hello(&[(0, vec![])]), HelloError::Malformed),
        ("name beyond list", hello(&[(0, vec![0, 3, 0, 0, 9])]), HelloError::Malformed),
        ("empty name", hello(&[server_name(b"")]), HelloError::BadName),
        ("nul", hello(&[server_name(b"a\0b")]), HelloError::BadName),
        ("long", hello(&[server_name(&[b'a'; 256])]), HelloError::BadName),
        ("other name type", hello(&[(0, vec![0, 4, 1, 0, 1, b'a'])]), HelloError::BadName),
    ] {
        assert_eq!(scan(&bytes), Err(error), "{what}");
    }
}

#[test]
fn hellos_without_a_name() {
    for (extensions, protocols) in [
        (None, false),
        (Some(&[][..]), false),
        (Some(&[(16, vec![0, 0]), (0xfafa, vec![0])][..]), true),
        (Some(&[(0xfafa, vec![0, 16]), (17, vec![])][..]), false),
    ] {
        let hello = records(&message(extensions, &[1; 32], 3), &[4096]);
        assert_eq!(scan(&hello), Ok(Some(Verdict::NoName { protocols })), "{extensions:?}");
    }
}

#[test]
fn the_largest_allowed_message_is_read_and_one_more_byte_is_not() {
    let size = |pad: usize| message(Some(&[(21, vec![0; pad]), server_name(b"a.b")]), &[], 1).len() - 4;
    let most = usize::try_from(MAX_MESSAGE).unwrap();
    let pad = most - size(0);
    let padded =
        |pad| records(&message(Some(&[(21, vec![0; pad]), server_name(b"a.b")]), &[], 1), &[1 << 14]);
    assert_eq!(scan(&padded(pad)), Ok(Some(name("a.b"))));
    assert_eq!(scan(&padded(pad + 1)), Err(HelloError::TooLarge));
}

/// What a message with this host is read as, when it is there at once.
fn whole(host: Option<&str>, bytes: &[u8]) -> Result<Option<Verdict>, HelloError> {
    let Some(host) = host else {
        let read = scan(bytes);
        assert!(matches!(read, Ok(Some(Verdict::NoName { .. }))), "{read:?}");
        return read;
    };
    Ok(Some(name(host)))
}

/// What rustls' own acceptor says: its server name, or that it needs more, or that it refuses.
fn judge(bytes: &[u8]) -> Result<Option<Option<String>>, String> {
    let mut acceptor = Acceptor::default();
    let mut input = bytes;
    while !input.is_empty() {
        if acceptor.read_tls(&mut input).map_err(|e| e.to_string())? == 0 {
            break;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => return Ok(Some(accepted.client_hello().server_name().map(str::to_owned))),
            Err((error, _)) => return Err(error.to_string()),
        }
    }
    Ok(None)
}

fn assert_agrees_with_rustls(bytes: &[u8]) {
    let ours = scan(bytes);
    match judge(bytes) {
        Ok(Some(Some(host))) => assert_eq!(ours, Ok(Some(name(&host.to_ascii_lowercase())))),
        Ok(Some(None)) => assert!(matches!(ours, Ok(Some(Verdict::NoName { .. }))), "{ours:?}"),
        // Either may be satisfied, or sure of an error, before the other has everything it wants to see.
        Ok(None) | Err(_) => {}
    }
}

#[test]
fn agrees_with_rustls_on_real_hellos() {
    for ech in [false, true] {
        let bytes = real_hello("demo-abcd2345.skep.internal", ech, &["h2"]);
        assert!(matches!(judge(&bytes), Ok(Some(Some(_)))));
        assert_agrees_with_rustls(&bytes);
        assert_agrees_with_rustls(&records(&bytes[5..], &[100, 3, 700]));
    }
}

fn hosts() -> impl Strategy<Value = String> {
    "[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\\.[a-z]([a-z0-9-]{0,10}[a-z0-9])?){1,4}"
}

/// Well-formed messages, with and without a name, with extensions of every number around it.
fn messages() -> impl Strategy<Value = (Option<String>, Vec<u8>)> {
    let filler = prop::collection::vec((1u16..=0xffff, prop::collection::vec(any::<u8>(), 0..60)), 0..8);
    (prop::option::of(hosts()), filler.clone(), filler, 0usize..=32, 1usize..40).prop_map(
        |(host, before, after, session_id, suites)| {
            let named = host.iter().map(|host| server_name(host.as_bytes()));
            let extensions: Vec<_> = before.into_iter().chain(named).chain(after).collect();
            (host, message(Some(&extensions), &vec![9; session_id], suites))
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn arbitrary_bytes_give_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = scan(&bytes);
        // The same behind a believable beginning, which reaches deeper.
        let _ = scan(&[&[22, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3], bytes.as_slice()].concat());
    }

    #[test]
    fn damaged_hellos_give_the_answer_of_rustls_or_an_error(
        at in any::<prop::sample::Index>(), value in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = real_hello("demo-abcd2345.skep.internal", false, &["h2"]);
        let at = at.index(bytes.len());
        bytes[at] = value;
        let whole = scan(&bytes);
        if let Ok(Some(verdict)) = scan(&bytes[..cut.index(bytes.len())]) {
            prop_assert_eq!(whole.clone(), Ok(Some(verdict)), "more bytes changed the answer");
        }
        if let Ok(Some(Some(host))) = judge(&bytes) {
            match DnsName::try_from(host.as_str()) {
                Ok(_) => prop_assert_eq!(whole, Ok(Some(name(&host)))),
                Err(_) => prop_assert!(false, "rustls gave a name that is none"),
            }
        }
    }

    #[test]
    fn segments_and_records_do_not_matter(
        (host, message) in messages(),
        sizes in prop::collection::vec(1usize..200, 1..6),
        segment in 1usize..50,
    ) {
        let bytes = records(&message, &sizes);
        let expected = whole(host.as_deref(), &bytes);
        prop_assert_eq!(scan(&bytes), expected.clone());
        let mut scanner = Scanner::default();
        let mut answer = Ok(None);
        for segment in bytes.chunks(segment) {
            answer = scanner.feed(segment);
            if answer != Ok(None) {
                break;
            }
        }
        prop_assert_eq!(answer, expected);
    }

    #[test]
    fn every_split_point_gives_the_same_answer((host, message) in messages()) {
        let bytes = records(&message, &[64]);
        let expected = whole(host.as_deref(), &bytes);
        for at in 0..=bytes.len() {
            let mut scanner = Scanner::default();
            let first = scanner.feed(&bytes[..at]);
            prop_assert!(first == Ok(None) || first == expected);
            prop_assert_eq!(scanner.feed(&bytes[at..]), expected.clone(), "split at {}", at);
        }
    }

    #[test]
    fn agrees_with_rustls((_, message) in messages(), sizes in prop::collection::vec(40usize..400, 1..4)) {
        assert_agrees_with_rustls(&records(&message, &sizes));
    }
}
