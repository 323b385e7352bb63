use proptest::prelude::*;

use super::*;
use crate::proxy_protocol::build;

/// A small ClientHello for this host.
fn hello(host: &str) -> Vec<u8> {
    let list16 = |body: &[u8]| [&u16::try_from(body.len()).unwrap().to_be_bytes(), body].concat();
    let name = list16(&[&[0], list16(host.as_bytes()).as_slice()].concat());
    let extensions = list16(&[&[0, 0], list16(&name).as_slice()].concat());
    let body = [&[3, 3], [5; 32].as_slice(), &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let message = [&[1, 0], list16(&body).as_slice()].concat();
    [&[22, 3, 1], list16(&message).as_slice()].concat()
}

fn address(last: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, last], 99))
}

fn header() -> Vec<u8> {
    build(address(1), address(2), Some("demo"))
}

fn greet(rule: HeaderRule, bytes: &[u8]) -> Result<Option<Box<Greeting>>, Rejection> {
    Greeter::new(rule, 16 * 1024).take(bytes)
}

#[test]
fn a_plain_hello() {
    let bytes = hello("a.b");
    let greeting = greet(HeaderRule::Authority, &bytes).unwrap().unwrap();
    assert_eq!(greeting.server_name.unwrap().as_str(), "a.b");
    assert_eq!(greeting.bytes, bytes);
    assert!(greeting.authority.is_none() && greeting.addresses.is_none());
}

#[test]
fn a_header_is_taken_off_and_believed() {
    for rule in [HeaderRule::Optional, HeaderRule::Required] {
        let greeting = greet(rule, &[header(), hello("a.b")].concat()).unwrap().unwrap();
        assert_eq!(greeting.authority.unwrap().as_str(), "demo");
        assert_eq!(greeting.addresses, Some((address(1), address(2))));
        assert_eq!(greeting.bytes, hello("a.b"));
    }
}

/// A node agent says for which tenant it comes; who its clients are is not believed.
#[test]
fn of_a_nodes_header_only_the_authority_is_believed() {
    let greeting = greet(HeaderRule::Authority, &[header(), hello("a.b")].concat()).unwrap().unwrap();
    assert_eq!(greeting.authority.unwrap().as_str(), "demo");
    assert_eq!((greeting.addresses, greeting.bytes), (None, hello("a.b")));
}

/// A node agent's connection comes through a load balancer: who the client is says one header, for whom it comes the other.
#[test]
fn behind_a_load_balancers_header_there_may_be_a_nodes() {
    let balancer = build(address(3), address(4), None);
    for rule in [HeaderRule::Optional, HeaderRule::Required] {
        let all = [balancer.clone(), header(), hello("kubernetes.default.svc")].concat();
        let greeting = greet(rule, &all).unwrap().unwrap();
        assert_eq!(greeting.authority.unwrap().as_str(), "demo");
        assert_eq!(greeting.addresses, Some((address(3), address(4))), "of a node it is not believed");
        assert_eq!(greeting.bytes, hello("kubernetes.default.svc"));
        let third = [header(), header(), header(), hello("a.b")].concat();
        assert_eq!(greet(rule, &third), Err(Rejection::NotTls), "nobody sends three");
    }
}

#[test]
fn headers_where_they_must_not_be() {
    let with = [header(), hello("a.b")].concat();
    for bytes in [with, hello("a.b")] {
        assert_eq!(greet(HeaderRule::Refused, &bytes), Err(Rejection::ProxyUntrusted));
    }
    assert!(greet(HeaderRule::Optional, &hello("a.b")).unwrap().is_some());
    assert_eq!(greet(HeaderRule::Required, &hello("a.b")), Err(Rejection::ProxyMalformed));
}

#[test]
fn only_listed_sources_are_trusted() {
    let trusted = vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()];
    let rule = |accept, source: &str| {
        HeaderRule::of(
            &ProxyProtocol { accept, trusted: trusted.clone(), ..ProxyProtocol::default() },
            source.parse().unwrap(),
        )
    };
    assert_eq!(rule(ProxyAccept::Off, "10.1.1.1"), HeaderRule::Authority);
    assert_eq!(rule(ProxyAccept::Optional, "10.1.1.1"), HeaderRule::Optional);
    assert_eq!(rule(ProxyAccept::Optional, "::ffff:10.1.1.1"), HeaderRule::Optional);
    assert_eq!(rule(ProxyAccept::Required, "fd00::1"), HeaderRule::Required);
    assert_eq!(rule(ProxyAccept::Optional, "11.1.1.1"), HeaderRule::Authority);
    assert_eq!(rule(ProxyAccept::Required, "2001:db8::1"), HeaderRule::Refused);
}

#[test]
fn what_never_completes_is_refused_at_the_limit() {
    // One byte per record is the most expensive way to send a hello.
    let crumbs: Vec<u8> =
        hello(&"a".repeat(250))[5..].iter().flat_map(|&byte| [22, 3, 1, 0, 1, byte]).collect();
    let mut greeter = Greeter::new(HeaderRule::Authority, 512);
    let (mut sent, mut refused) = (0, None);
    while refused.is_none() && sent < crumbs.len() {
        let n = greeter.room().min(100).min(crumbs.len() - sent);
        assert!(n > 0);
        refused = greeter.take(&crumbs[sent..sent + n]).err();
        sent += n;
    }
    assert_eq!((refused, sent), (Some(Rejection::HelloTooLarge), 512));
}

proptest! {
    #[test]
    fn segments_do_not_matter(
        host in "[a-z]{1,20}\\.[a-z]{1,8}", headers in 0usize..=2, behind in prop::collection::vec(any::<u8>(), 0..40),
        segment in 1usize..60,
    ) {
        let front = header().repeat(headers);
        let payload = [hello(&host), behind].concat();
        let bytes = [front, payload.clone()].concat();
        let mut greeter = Greeter::new(HeaderRule::Optional, 16 * 1024);
        let (mut got, mut sent) = (None, 0);
        for chunk in bytes.chunks(segment) {
            sent += chunk.len();
            got = greeter.take(chunk).unwrap();
            if got.is_some() {
                break;
            }
        }
        let greeting = got.unwrap();
        prop_assert_eq!(greeting.server_name.map(|n| n.to_string()), Some(host));
        prop_assert_eq!(greeting.addresses.is_some(), headers > 0);
        // Nothing is lost or added: what the greeter kept and what is still unsent is the whole payload.
        prop_assert_eq!([greeting.bytes.as_slice(), &bytes[sent..]].concat(), payload);
    }

    #[test]
    fn arbitrary_bytes_cost_bounded_memory(
        bytes in prop::collection::vec(any::<u8>(), 0..4_000), segment in 1usize..700, rule in 0usize..4,
    ) {
        let rules =
            [HeaderRule::Refused, HeaderRule::Optional, HeaderRule::Required, HeaderRule::Authority];
        let rule = rules[rule];
        let mut greeter = Greeter::new(rule, 1024);
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let n = greeter.room().min(segment).min(rest.len());
            prop_assert!(n > 0, "no room and no refusal");
            let answer = greeter.take(&rest[..n]);
            prop_assert!(greeter.bytes.len() <= 1024 + MAX_HEADER);
            if answer != Ok(None) {
                break;
            }
            rest = &rest[n..];
        }
    }
}
