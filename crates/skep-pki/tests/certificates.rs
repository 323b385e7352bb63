//! Certificates from the outside: what is issued, what is kept, what is replaced.

#![allow(clippy::unwrap_used)]

use std::net::IpAddr;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use skep_pki::{
    Authority, BACKDATE, Error, Inspected, KeyPair, Leaf, Pem, Reason, Usage, bundle, issued_by, judge,
    names_match, needs_renewal, validity,
};

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn now() -> Timestamp {
    Timestamp::from_second(1_790_000_000).unwrap()
}

fn after(d: Duration) -> Timestamp {
    now() + SignedDuration::try_from(d).unwrap()
}

fn authority() -> Authority {
    Authority::generate("test-ca", 10 * YEAR, now()).unwrap()
}

fn server() -> Leaf {
    Leaf::server("kube-apiserver", YEAR)
        .dns("Demo.Skep.Internal")
        .dns("kubernetes.default.svc")
        .address(IpAddr::from([127, 64, 1, 2]))
        .address("::1".parse::<IpAddr>().unwrap())
}

#[test]
fn a_leaf_carries_what_was_asked_for() {
    let ca = authority();
    let pair = ca.issue(&server(), now()).unwrap();
    let found = Inspected::parse(&pair.cert_pem).unwrap();
    assert_eq!(found.common_name, "kube-apiserver");
    assert!(found.dns_names.contains("demo.skep.internal"));
    assert_eq!(found.addresses.len(), 2);
    assert!(found.for_server && !found.for_client && !found.is_authority);
    assert_eq!(found.validity.not_before, now() - SignedDuration::try_from(BACKDATE).unwrap());
    assert_eq!(found.validity.not_after, after(YEAR));
    assert_eq!(validity(&pair.cert_pem).unwrap(), found.validity);
    assert!(issued_by(&pair.cert_pem, ca.cert_pem()).unwrap());
    assert!(names_match(&pair.cert_pem, &server()).unwrap());
}

#[test]
fn users_and_groups() {
    let ca = authority();
    for groups in [vec![], vec!["system:masters"], vec!["one", "two"]] {
        let leaf = groups.iter().fold(Leaf::client("system:admin", DAY), |l, g| l.organization(*g));
        let pair = ca.issue(&leaf, now()).unwrap();
        let found = Inspected::parse(&pair.cert_pem).unwrap();
        assert_eq!(found.organizations, groups.iter().map(|g| (*g).to_owned()).collect());
        assert!(found.for_client && !found.for_server);
    }
}

#[test]
fn serial_numbers_and_keys_differ() {
    let ca = authority();
    let pairs: Vec<_> = (0..8).map(|_| ca.issue(&server(), now()).unwrap()).collect();
    let serials: std::collections::BTreeSet<_> =
        pairs.iter().map(|p| Inspected::parse(&p.cert_pem).unwrap().serial).collect();
    assert_eq!(serials.len(), 8);
    assert!(serials.iter().all(|s| s.len() == 16 && s[0] < 0x80), "positive and of one length");
    assert_ne!(pairs[0].key_pem, pairs[1].key_pem);
}

#[test]
fn an_authority_survives_storage() {
    let ca = authority();
    let again = Authority::from_pem(ca.cert_pem(), ca.key_pem().as_str()).unwrap();
    let pair = again.issue(&server(), now()).unwrap();
    assert!(issued_by(&pair.cert_pem, ca.cert_pem()).unwrap());
    assert_eq!(again.pair(), ca.pair());
    assert!(Inspected::parse(ca.cert_pem()).unwrap().is_authority);
}

#[test]
fn a_wrong_authority_is_refused() {
    let (one, two) = (authority(), authority());
    assert!(matches!(
        Authority::from_pem(one.cert_pem(), two.key_pem().as_str()),
        Err(Error::KeyMismatch { .. })
    ));
    let leaf = one.issue(&server(), now()).unwrap();
    assert!(matches!(
        Authority::from_pem(&leaf.cert_pem, leaf.key_pem.as_str()),
        Err(Error::NotAnAuthority { .. })
    ));
    assert!(matches!(Authority::from_pem("junk", "junk"), Err(Error::Read { .. })));
    assert!(matches!(one.issue(&server(), after(11 * YEAR)), Err(Error::AuthorityNotValid { .. })));
}

#[test]
fn the_same_name_is_not_the_same_authority() {
    // Both are called "test-ca": only the signature tells them apart.
    let (one, two) = (authority(), authority());
    let leaf = one.issue(&server(), now()).unwrap();
    assert!(!issued_by(&leaf.cert_pem, two.cert_pem()).unwrap());
    let both = bundle([two.cert_pem(), one.cert_pem(), two.cert_pem()]).unwrap();
    assert_eq!(both.matches("BEGIN CERTIFICATE").count(), 2, "each once");
    assert!(issued_by(&leaf.cert_pem, &both).unwrap());
}

#[test]
fn a_leaf_does_not_outlive_its_authority() {
    let ca = Authority::generate("short", 30 * DAY, now()).unwrap();
    let pair = ca.issue(&Leaf::client("x", YEAR), after(10 * DAY)).unwrap();
    assert_eq!(validity(&pair.cert_pem).unwrap().not_after, ca.validity().not_after);
}

#[test]
fn dates_beyond_2050_and_long_lives() {
    let ca = Authority::generate("long", 100 * YEAR, now()).unwrap();
    let pair = ca.issue(&Leaf::client("x", 60 * YEAR), now()).unwrap();
    assert_eq!(validity(&pair.cert_pem).unwrap().not_after, after(60 * YEAR));
}

#[test]
fn keeps_what_is_good_and_says_why_not() {
    let (ca, other) = (authority(), authority());
    let leaf = server();
    let first = ca.ensure(None, &leaf, now()).unwrap();
    assert_eq!(first.issued, Some(Reason::Missing));
    let kept = ca.ensure(Some(&first.pair), &leaf, after(DAY)).unwrap();
    assert_eq!((kept.issued, &kept.pair), (None, &first.pair));
    assert!(kept.renewal > after(200 * DAY) && kept.renewal < after(244 * DAY));
    let why = |pair: &KeyPair, leaf: &Leaf, at| judge(Some(pair), ca.cert_pem(), leaf, at);
    assert_eq!(why(&first.pair, &leaf, kept.renewal), Some(Reason::RenewalDue));
    assert!(needs_renewal(&first.pair.cert_pem, kept.renewal).unwrap());
    assert_eq!(why(&first.pair, &leaf.clone().dns("more"), now()), Some(Reason::OtherNames));
    assert_eq!(why(&other.issue(&leaf, now()).unwrap(), &leaf, now()), Some(Reason::OtherAuthority));
    let mixed = KeyPair { key_pem: other.issue(&leaf, now()).unwrap().key_pem, ..first.pair.clone() };
    assert_eq!(why(&mixed, &leaf, now()), Some(Reason::KeyMismatch));
    let junk = KeyPair { key_pem: Pem::new("junk"), ..first.pair };
    assert_eq!(why(&junk, &leaf, now()), Some(Reason::Unreadable));
}

#[test]
fn nothing_secret_is_printed() {
    let ca = authority();
    let pair = ca.issue(&server(), now()).unwrap();
    for text in [format!("{ca:?}"), format!("{pair:?}"), format!("{:?}", ca.pair())] {
        assert!(!text.contains("PRIVATE KEY"), "{text}");
    }
}

fn label() -> impl Strategy<Value = String> {
    "[a-zA-Z0-9]([a-zA-Z0-9-]{0,10}[a-zA-Z0-9])?"
}

prop_compose! {
    fn any_leaf()(
        cn in "[a-z:]{1,40}",
        groups in prop::collection::btree_set("[a-z:]{1,20}", 0..3),
        dns in prop::collection::vec(prop::collection::vec(label(), 1..4), 1..4),
        addresses in prop::collection::vec(any::<IpAddr>(), 0..4),
        usage in prop::sample::select(vec![Usage::Server, Usage::Client, Usage::Both]),
        days in 1u64..4000,
    ) -> Leaf {
        Leaf {
            common_name: cn,
            organizations: groups.into_iter().collect(),
            dns_names: dns.into_iter().map(|l| l.join(".")).collect(),
            addresses,
            usage,
            life: Duration::from_secs(days * 86_400),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn what_is_issued_matches_and_is_kept(leaf in any_leaf(), at in 0i64..3_000_000_000) {
        let at = Timestamp::from_second(at).unwrap();
        let ca = Authority::generate("ca", 20 * YEAR, at).unwrap();
        let first = ca.ensure(None, &leaf, at).unwrap();
        let mut shuffled = leaf.clone();
        shuffled.dns_names.reverse();
        shuffled.addresses.reverse();
        shuffled.organizations.reverse();
        let again = ca.ensure(Some(&first.pair), &shuffled, at).unwrap();
        prop_assert_eq!(again.issued, None);
        prop_assert_eq!(again.pair, first.pair);
    }

    #[test]
    fn any_difference_is_seen(leaf in any_leaf(), pick in 0usize..5) {
        let ca = Authority::generate("ca", 20 * YEAR, now()).unwrap();
        let pair = ca.issue(&leaf, now()).unwrap();
        let mut other = leaf.clone();
        match pick {
            0 => other.common_name.push('x'),
            1 => other.dns_names.push("one.more".into()),
            2 => other.addresses.push(IpAddr::from([127, 200, 0, 1])),
            3 => other.usage = if leaf.usage == Usage::Both { Usage::Client } else { Usage::Both },
            _ => { other.organizations.pop().unwrap_or_default(); other.organizations.push("ZZZ".into()) }
        }
        prop_assert!(!names_match(&pair.cert_pem, &other).unwrap());
    }

    #[test]
    fn junk_never_panics(text in "\\PC{0,200}", body in "[A-Za-z0-9+/=\n]{0,200}") {
        let _ = Inspected::parse(&text);
        let _ = Inspected::parse(&format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"));
        let _ = Authority::from_pem(&text, &body);
    }
}
