use std::time::Duration;

use skep_pki::Leaf;

use super::*;
use crate::node_tunnel::fixtures::{DAY, Tenancy, chain, issue, kubelet};

fn role(identity: &Identity, authority: &skep_pki::Authority, leaf: &Leaf) -> Option<Role> {
    identity.role(&chain(&issue(authority, leaf)), UnixTime::now())
}

#[test]
fn who_signed_decides_who_it_is() {
    let tenancy = Tenancy::new("a");
    let identity = Identity::new(&tenancy.files()).unwrap();
    let api_server = Leaf::client("kube-apiserver", DAY).organization("a");
    assert_eq!(role(&identity, &tenancy.tunnel, &api_server), Some(Role::ApiServer));
    let Some(Role::Agent { node, until }) = role(&identity, &tenancy.cluster, &kubelet("worker-1")) else {
        panic!("no agent");
    };
    assert_eq!(node, "worker-1");
    let left = until - jiff::Timestamp::now().as_second();
    assert!((1..=86_400).contains(&left), "{left}");
}

#[test]
fn whoever_has_no_business_here_is_nobody() {
    let (tenancy, other) = (Tenancy::new("a"), Tenancy::new("b"));
    let identity = Identity::new(&tenancy.files()).unwrap();
    let api_server = Leaf::client("kube-apiserver", DAY).organization("a");
    let admin = Leaf::client("admin", DAY).organization("system:masters");
    for (what, authority, leaf) in [
        ("an API server's name from the cluster's authority", &tenancy.cluster, &api_server),
        ("the cluster's administrator", &tenancy.cluster, &admin),
        ("a node without its group", &tenancy.cluster, &Leaf::client("system:node:a", DAY)),
        ("a server's certificate", &tenancy.cluster, &Leaf::server("system:node:a", DAY).dns("a")),
        ("another tenant's API server that names this one", &other.tunnel, &api_server),
        ("another tenant's node", &other.cluster, &kubelet("worker-1")),
    ] {
        assert_eq!(role(&identity, authority, leaf), None, "{what}");
    }
    assert_eq!(identity.role(&[], UnixTime::now()), None);
    assert_eq!(identity.role(&[CertificateDer::from(vec![1, 2, 3])], UnixTime::now()), None);
}

/// The same subject and the same name of the authority are not enough.
#[test]
fn an_authority_of_the_same_name_is_another_one() {
    let (tenancy, impostor) = (Tenancy::new("a"), Tenancy::new("a"));
    let identity = Identity::new(&tenancy.files()).unwrap();
    assert_eq!(role(&identity, &impostor.tunnel, &Leaf::client("kube-apiserver", DAY)), None);
    assert_eq!(role(&identity, &impostor.cluster, &kubelet("worker-1")), None);
}

#[test]
fn certificates_end() {
    let tenancy = Tenancy::new("a");
    let identity = Identity::new(&tenancy.files()).unwrap();
    let chain = chain(&issue(&tenancy.cluster, &kubelet("worker-1")));
    let at =
        |offset: u64| UnixTime::since_unix_epoch(Duration::from_secs(UnixTime::now().as_secs() + offset));
    assert!(identity.role(&chain, at(0)).is_some());
    assert_eq!(identity.role(&chain, at(2 * 86_400)), None);
}

#[test]
fn incomplete_files_are_named() {
    let whole = Tenancy::new("a").files();
    for key in
        [tunnel::SERVER_CERT, tunnel::SERVER_KEY, tunnel::AGENT_AUTHORITIES, tunnel::API_SERVER_AUTHORITIES]
    {
        let mut lacking = whole.clone();
        lacking.0.remove(key);
        assert_eq!(Identity::new(&lacking).unwrap_err(), IdentityError::Lacks { key });
        for content in ["", "noise", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            let mut broken = whole.clone();
            broken.0.insert(key.to_owned(), content.into());
            let error = Identity::new(&broken).unwrap_err();
            assert!(matches!(error, IdentityError::Unusable { .. }), "{key} {content:?}: {error}");
            assert!(!error.to_string().contains("PRIVATE"), "{error}");
        }
    }
    assert!(!format!("{whole:?}").contains("BEGIN"), "nothing secret is printed");
}
