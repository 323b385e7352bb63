//! Verdicts on real requests.

use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, SanType};
use serde_json::json;

use super::*;
use crate::bootstrap::token;

const UID: &str = "11111111-2222-3333-4444-555555555555";

fn machine() -> Applicant {
    Applicant { name: "demo-w-abcde".into(), token: token::id(UID), address: "198.19.1.7".parse().ok() }
}

/// A request as it is being put together: a proper one for a client certificate.
struct Draft {
    signer: &'static str,
    username: String,
    groups: Vec<&'static str>,
    usages: Vec<&'static str>,
    subject: Vec<(DnType, &'static str)>,
    names: Vec<SanType>,
    pem: Option<String>,
    status: serde_json::Value,
}

fn dns(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn ip(address: &str) -> SanType {
    SanType::IpAddress(address.parse().unwrap())
}

impl Draft {
    fn joining() -> Self {
        Self {
            signer: CLIENT_SIGNER,
            username: format!("system:bootstrap:{}", token::id(UID)),
            groups: vec!["system:bootstrappers", GROUP, "system:authenticated"],
            usages: vec!["digital signature", "client auth"],
            subject: vec![
                (DnType::OrganizationName, "system:nodes"),
                (DnType::CommonName, "system:node:demo-w-abcde"),
            ],
            names: vec![],
            pem: None,
            status: json!({}),
        }
    }

    fn renewing() -> Self {
        Self {
            username: "system:node:demo-w-abcde".into(),
            groups: vec!["system:nodes", "system:authenticated"],
            ..Self::joining()
        }
    }

    fn serving() -> Self {
        Self {
            signer: SERVING_SIGNER,
            usages: vec!["server auth", "digital signature", "key encipherment"],
            names: vec![dns("demo-w-abcde"), ip("198.19.1.7")],
            ..Self::renewing()
        }
    }

    fn request(&self) -> Request {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        for (kind, value) in &self.subject {
            params.distinguished_name.push(kind.clone(), *value);
        }
        params.subject_alt_names.clone_from(&self.names);
        let key = KeyPair::generate().unwrap();
        let pem = self.pem.clone().unwrap_or_else(|| params.serialize_request(&key).unwrap().pem().unwrap());
        use base64::Engine as _;
        let pem = base64::engine::general_purpose::STANDARD.encode(pem);
        serde_json::from_value(json!({
            "metadata": {"name": "csr-x"},
            "spec": {"request": pem, "signerName": self.signer, "username": self.username, "groups": self.groups,
                "usages": self.usages},
            "status": self.status,
        }))
        .unwrap()
    }

    fn verdict(&self) -> Verdict {
        judge(&self.request(), &machine())
    }

    /// The reason of the denial.
    fn denied(&self) -> &'static str {
        match self.verdict() {
            Verdict::Deny(reason, message) => {
                assert!(!message.is_empty());
                reason
            }
            other => panic!("{other:?}"),
        }
    }

    fn is_approved(&self) -> bool {
        matches!(self.verdict(), Verdict::Approve(_))
    }
}

#[test]
fn a_machine_gets_what_is_its_own() {
    for (mut draft, rsa) in [
        (Draft::joining(), vec!["key encipherment", "client auth", "digital signature"]),
        (Draft::renewing(), vec!["key encipherment", "client auth", "digital signature"]),
        (Draft::serving(), vec!["digital signature", "server auth"]),
    ] {
        assert!(draft.is_approved(), "{:?}", draft.verdict());
        draft.usages = rsa;
        assert!(draft.is_approved(), "{:?}", draft.verdict());
    }
    assert!(Draft { names: vec![dns("demo-w-abcde")], ..Draft::serving() }.is_approved());
    assert!(Draft { names: vec![ip("198.19.1.7")], ..Draft::serving() }.is_approved());
}

#[test]
fn what_others_ask_for_is_left_alone() {
    let mut strangers: Vec<Draft> = [
        "system:bootstrap:zzzzzz",
        "system:bootstrap:",
        "system:node:demo-w-other",
        "system:node:",
        "demo-w-abcde",
        "kubernetes-admin",
        "",
    ]
    .into_iter()
    .map(|user| Draft { username: user.into(), ..Draft::joining() })
    .collect();
    // The right name without the group that the API server gives with it.
    strangers.push(Draft { groups: vec!["system:bootstrappers"], ..Draft::joining() });
    strangers.push(Draft { groups: vec![], ..Draft::renewing() });
    strangers.push(Draft { signer: "kubernetes.io/kube-apiserver-client", ..Draft::joining() });
    strangers.push(Draft { signer: "example.com/own", ..Draft::joining() });
    for draft in strangers {
        assert_eq!(draft.verdict(), Verdict::Leave, "{} {}", draft.username, draft.signer);
    }
}

#[test]
fn what_is_decided_stays_decided() {
    for status in [
        json!({"conditions": [{"type": "Denied", "status": "True", "reason": "x"}]}),
        json!({"conditions": [{"type": "Approved", "status": "True", "reason": "x"}]}),
        json!({"certificate": "QUJD"}),
    ] {
        assert_eq!(Draft { status, ..Draft::joining() }.verdict(), Verdict::Leave);
    }
}

#[test]
fn nobody_becomes_another_node_or_more_than_a_node() {
    let subject = |parts: &[(DnType, &'static str)]| Draft { subject: parts.to_vec(), ..Draft::joining() };
    let (o, cn) = (DnType::OrganizationName, DnType::CommonName);
    let own = (cn.clone(), "system:node:demo-w-abcde");
    assert_eq!(
        subject(&[(o.clone(), "system:nodes"), (cn.clone(), "system:node:demo-w-other")]).denied(),
        "OtherName"
    );
    assert_eq!(subject(&[(o.clone(), "system:nodes"), (cn, "kubernetes-admin")]).denied(), "OtherName");
    assert_eq!(subject(&[(o.clone(), "system:nodes")]).denied(), "OtherName");
    assert_eq!(subject(std::slice::from_ref(&own)).denied(), "OtherGroup");
    assert_eq!(subject(&[(o.clone(), "system:masters"), own.clone()]).denied(), "OtherGroup");
    let unit = (DnType::OrganizationalUnitName, "x");
    assert_eq!(subject(&[(o, "system:nodes"), own, unit]).denied(), "OtherGroup");
}

#[test]
fn a_second_organisation_is_seen() {
    // Two values of one kind, which the builder above cannot express: system:nodes and system:masters.
    let draft = Draft {
        pem: Some(include_str!("../../tests/data/two-organizations.pem").into()),
        ..Draft::joining()
    };
    assert_eq!(draft.request().asked.unwrap().organizations, ["system:nodes", "system:masters"]);
    assert_eq!(draft.denied(), "OtherGroup");
}

#[test]
fn a_client_certificate_has_no_names_besides_its_own() {
    let names = |names| Draft { names, ..Draft::joining() };
    assert_eq!(names(vec![dns("demo-w-abcde")]).denied(), "OtherNames");
    assert_eq!(names(vec![ip("198.19.1.7")]).denied(), "OtherNames");
    assert_eq!(names(vec![SanType::Rfc822Name("a@b.c".try_into().unwrap())]).denied(), "OtherNames");
    assert_eq!(names(vec![SanType::URI("spiffe://x".try_into().unwrap())]).denied(), "OtherNames");
}

#[test]
fn a_serving_certificate_is_for_the_machines_own_name_and_address() {
    let names = |names| Draft { names, ..Draft::serving() };
    assert_eq!(names(vec![]).denied(), "NoNames");
    for bad in [
        dns("kubernetes.default.svc"),
        dns("demo-w-other"),
        dns("*"),
        ip("198.19.1.8"),
        ip("10.96.0.1"),
        ip("::1"),
    ] {
        assert_eq!(names(vec![dns("demo-w-abcde"), bad.clone()]).denied(), "OtherNames", "{bad:?}");
    }
    assert_eq!(
        names(vec![SanType::URI("https://x".try_into().unwrap()), dns("demo-w-abcde")]).denied(),
        "OtherNames"
    );
    assert_eq!(
        Draft { username: Draft::joining().username, groups: Draft::joining().groups, ..Draft::serving() }
            .denied(),
        "NotANode"
    );
}

#[test]
fn an_address_that_is_not_known_yet_is_waited_for() {
    let unknown = Applicant { address: None, ..machine() };
    assert!(matches!(judge(&Draft::serving().request(), &unknown), Verdict::Wait(_)));
    let by_name = Draft { names: vec![dns("demo-w-abcde")], ..Draft::serving() };
    assert!(matches!(judge(&by_name.request(), &unknown), Verdict::Approve(_)));
    let wrong = Draft { names: vec![dns("x"), ip("198.19.1.7")], ..Draft::serving() };
    assert!(matches!(judge(&wrong.request(), &unknown), Verdict::Deny("OtherNames", _)));
}

#[test]
fn usages_are_exactly_upstreams() {
    for usages in [
        vec![],
        vec!["client auth"],
        vec!["digital signature", "client auth", "server auth"],
        vec!["digital signature", "server auth"],
        vec!["digital signature", "client auth", "cert sign"],
        vec!["any"],
    ] {
        assert_eq!(
            Draft { usages: usages.clone(), ..Draft::joining() }.denied(),
            "OtherUsages",
            "{usages:?}"
        );
    }
    assert_eq!(
        Draft { usages: vec!["digital signature", "client auth"], ..Draft::serving() }.denied(),
        "OtherUsages"
    );
}

#[test]
fn what_cannot_be_read_is_denied_and_nothing_breaks() {
    let proper = {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
    };
    let twice = format!("{proper}{proper}");
    let certificate = proper.replace("CERTIFICATE REQUEST", "CERTIFICATE");
    let large = format!("{}{proper}", " ".repeat(20_000));
    for pem in [
        "",
        "x",
        "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        &twice,
        &certificate,
        &large,
    ] {
        let draft = Draft { pem: Some(pem.to_owned()), ..Draft::joining() };
        assert_eq!(draft.denied(), "Unreadable", "{pem:.40}");
    }
}

proptest::proptest! {
    /// Whatever bytes somebody sends, reading them ends, and they get no certificate.
    #[test]
    fn rubbish_is_never_approved(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..600)) {
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(&bytes);
        let pem = format!("-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n");
        let draft = Draft { pem: Some(pem), ..Draft::joining() };
        proptest::prop_assert!(!draft.is_approved());
    }
}
