//! What is kept, what is issued, who gets which key, and what restarts whom.

use std::collections::BTreeSet;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use skep_pki::{Authority, Leaf};

use super::*;
use crate::build;
use crate::fixtures::{now, owner};

const DAY: i64 = 86_400;

fn days(n: i64) -> Timestamp {
    Timestamp::from_second(now().as_second() + n * DAY).unwrap()
}

/// A datastore's answer, whose certificate is somebody else's business.
fn access(at: Timestamp) -> TenantAccess {
    let authority = Authority::generate("datastore", Duration::from_secs(20 * 365 * 86_400), now()).unwrap();
    let leaf = Leaf::client("demo-abcd2345", Duration::from_secs(20 * 365 * 86_400));
    TenantAccess {
        endpoints: vec!["https://127.64.9.181:2379".into()],
        prefix: "/skep/demo-abcd2345".into(),
        server_ca_pem: "CA".into(),
        client: authority.ensure(None, &leaf, at).unwrap(),
    }
}

fn stored(issued: &Issued) -> Stored {
    let secrets = issued.secrets.iter().map(|(name, data)| build::secret(&owner(|_| {}), name, data.clone()));
    Stored::new(secrets.collect::<Vec<Secret>>())
}

fn issue_at(authorities: &Authorities, stored: &Stored, access: &TenantAccess, at: Timestamp) -> Issued {
    issue(&owner(|_| {}).spec, authorities, access, stored, &GATEWAY, at).unwrap()
}

const GATEWAY: Gateway<'static> = Gateway { url: "https://127.0.0.1:6443", door: None };

#[test]
fn every_program_gets_what_it_needs_and_no_more() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let issued = issue_at(&authorities, &Stored::default(), &access(now()), now());
    let keys: BTreeMap<_, Vec<_>> =
        issued.secrets.iter().map(|(name, data)| (*name, data.keys().map(str::to_owned).collect())).collect();
    insta::assert_yaml_snapshot!(keys);
    let roots = authorities.to_data();
    for (name, data) in &issued.secrets {
        let holds = |stem: &str| data.keys().any(|key| data.text(key) == roots.text(&format!("{stem}.key")));
        assert_eq!(holds("cluster-ca-1"), *name == "kube-controller-manager", "{name}");
        assert!(!holds("front-proxy-ca-1") && !holds("tunnel-ca-1"), "{name}");
    }
}

#[test]
fn certificates_name_the_right_users() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let issued = issue_at(&authorities, &Stored::default(), &access(now()), now());
    let inspect = |secret: &str, stem: &str| {
        let pair = issued.secrets[secret].pair(stem).unwrap();
        let found = skep_pki::Inspected::parse(&pair.cert_pem).unwrap();
        format!(
            "{secret}/{stem}: CN={} O={:?} dns={:?} ip={:?} server={} client={}",
            found.common_name,
            found.organizations,
            found.dns_names,
            found.addresses,
            found.for_server,
            found.for_client
        )
    };
    let admin = stored(&issued).admin().unwrap();
    let admin = skep_pki::Inspected::parse(&admin.cert_pem).unwrap();
    let mut lines: Vec<String> = [
        ("kube-apiserver", "server"),
        ("kube-apiserver", "kubelet-client"),
        ("kube-apiserver", "front-proxy-client"),
        ("kube-apiserver", "tunnel-client"),
        ("tunnel", "server"),
        ("kube-controller-manager", "server"),
        ("kube-controller-manager", "client"),
        ("kube-scheduler", "server"),
        ("kube-scheduler", "client"),
    ]
    .into_iter()
    .map(|(secret, stem)| inspect(secret, stem))
    .collect();
    lines.push(format!("admin: CN={} O={:?}", admin.common_name, admin.organizations));
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn kubeconfigs_hold_relative_paths_or_everything() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let issued = issue_at(&authorities, &Stored::default(), &access(now()), now());
    let controllers = issued.secrets["kube-scheduler"].text("kubeconfig").unwrap();
    insta::assert_snapshot!(controllers);
    let admin = Kubeconfig::parse(issued.secrets[names::ADMIN].text("value").unwrap()).unwrap();
    assert!(admin.is_self_contained());
    assert_eq!(admin.tls_server_name.as_deref(), Some("demo-abcd2345.skep.internal"));
}

#[test]
fn a_second_pass_issues_nothing_and_changes_no_byte() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let access = access(now());
    let first = issue_at(&authorities, &Stored::default(), &access, now());
    assert_eq!(first.news.len(), 11, "{:?}", first.news);
    let again = Authorities::read(&authorities.to_data(), days(1)).unwrap();
    let kept = TenantAccess { client: skep_pki::Ensured { issued: None, ..access.client.clone() }, ..access };
    let second = issue_at(&again, &stored(&first), &kept, days(1));
    assert_eq!(second.news, []);
    assert_eq!(second.secrets, first.secrets);
    assert_eq!(second.files, first.files);
    assert_eq!(second.renewal, first.renewal);
}

#[test]
fn a_renewal_restarts_nobody() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let access = access(now());
    let first = issue_at(&authorities, &Stored::default(), &access, now());
    assert!(first.renewal <= days(365 * 2 / 3) && first.renewal > days(80));
    let due = days(365 * 2 / 3 + 1);
    let second = issue_at(&authorities, &stored(&first), &access, due);
    assert!(
        second.news.iter().filter(|(_, why)| *why == Reason::RenewalDue).count() >= 8,
        "{:?}",
        second.news
    );
    assert_eq!(second.files, first.files);
}

#[test]
fn another_name_reissues_the_server_certificate_and_restarts_the_controllers_only() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let access = access(now());
    let first = issue_at(&authorities, &Stored::default(), &access, now());
    let moved = owner(|spec| spec.endpoint.host = "demo.example.com".into());
    let second = issue(&moved.spec, &authorities, &access, &stored(&first), &GATEWAY, now()).unwrap();
    assert!(
        second.news.contains(&("kube-apiserver/server".to_owned(), Reason::OtherNames)),
        "{:?}",
        second.news
    );
    let changed: BTreeSet<_> =
        Program::ALL.into_iter().filter(|program| first.files[program] != second.files[program]).collect();
    assert_eq!(changed, BTreeSet::from([Program::KubeControllerManager, Program::KubeScheduler]));
}

/// An authority's successor is trusted for the overlap before it signs, so that no verifier ever meets a stranger.
#[test]
fn authorities_rotate_with_overlap() {
    let mut authorities = Authorities::generate("demo", now()).unwrap();
    let access = access(now());
    let first = issue_at(&authorities, &Stored::default(), &access, now());
    let due = days(3650 * 2 / 3 + 1);
    let mut at_due = Authorities::read(&authorities.to_data(), due).unwrap();
    assert!(!authorities.rotate("demo", days(1)).unwrap());
    assert!(at_due.rotate("demo", due).unwrap());
    assert!(!at_due.rotate("demo", due).unwrap(), "once is enough");
    assert_eq!(at_due.cluster.bundle().unwrap().matches("BEGIN CERTIFICATE").count(), 2);
    let old_signer = authorities.cluster.signer().unwrap().cert_pem().to_owned();
    assert_eq!(at_due.cluster.signer().unwrap().cert_pem(), old_signer);
    let after = Authorities::read(&at_due.to_data(), days(3650 * 2 / 3 + 100)).unwrap();
    assert_ne!(after.cluster.signer().unwrap().cert_pem(), old_signer);
    let second = issue_at(&after, &stored(&first), &access, days(3650 * 2 / 3 + 100));
    assert!(second.news.iter().all(|(_, why)| *why == Reason::OtherAuthority || *why == Reason::Missing));
    assert_eq!(after.service_account, authorities.service_account, "tokens stay valid");
    assert_eq!(after.encryption, authorities.encryption, "stored Secrets stay readable");
}

/// Upstream reads what it shows to the tunnels once: it has to be replaced before that ends.
#[test]
fn a_new_certificate_for_the_tunnels_replaces_the_api_servers() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let access = access(now());
    let first = issue_at(&authorities, &Stored::default(), &access, now());
    let cert =
        |issued: &Issued| issued.secrets["kube-apiserver"].text("tunnel-client.crt").unwrap().to_owned();
    let due = days(5 * 365 * 2 / 3 + 1);
    let second = issue_at(&authorities, &stored(&first), &access, due);
    assert_ne!(cert(&first), cert(&second));
    assert_ne!(first.files[&Program::KubeApiserver], second.files[&Program::KubeApiserver]);
    let ends = skep_pki::validity(&cert(&first)).unwrap().not_after;
    assert!(ends > days(365 * 5 - 2) && due < ends, "{ends}");
}

#[test]
fn tenants_of_earlier_versions_get_an_authority_for_their_tunnels() {
    let whole = Authorities::generate("demo", now()).unwrap();
    let mut map = whole.to_data().into_map();
    map.retain(|key, _| !key.starts_with("tunnel-ca"));
    let mut read = Authorities::read(&Data::from(map), now()).unwrap();
    assert!(read.tunnel.signer().is_err());
    assert!(read.rotate("demo", now()).unwrap());
    assert!(read.tunnel.signer().is_ok());
    assert_eq!(read.cluster.bundle().unwrap(), whole.cluster.bundle().unwrap(), "the others stay");
    assert!(!read.rotate("demo", now()).unwrap());
}

#[test]
fn the_door_replaces_only_the_api_servers_that_come_by_it() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let access = access(now());
    let of = |stored: &Stored, door| {
        issue(&owner(|_| {}).spec, &authorities, &access, stored, &Gateway { door, ..GATEWAY }, now())
            .unwrap()
    };
    let by_name = of(&Stored::default(), None);
    let by_door = of(&stored(&by_name), Some("DOOR"));
    let key = "tunnel-door-ca.crt";
    assert_eq!(by_name.secrets["kube-apiserver"].text(key), None);
    assert_eq!(by_door.secrets["kube-apiserver"].text(key), Some("DOOR"));
    assert_ne!(of(&stored(&by_door), Some("NEW")).files, by_door.files);
    // After an upgrade: an old API server that starts once more finds what it looks for.
    let upgraded = of(&stored(&by_door), None);
    assert_eq!(upgraded.secrets["kube-apiserver"].text(key), Some("DOOR"));
    assert_eq!(upgraded.files, by_name.files);
}

#[test]
fn incomplete_authorities_are_never_made_anew() {
    let whole = Authorities::generate("demo", now()).unwrap().to_data();
    for lost in ["cluster-ca-1.key", "front-proxy-ca-1.crt", "service-account.key", "encryption.key"] {
        let mut map = whole.clone().into_map();
        map.remove(lost);
        let error = Authorities::read(&Data::from(map), now()).unwrap_err();
        assert!(error.to_string().contains("SKEP-4021"), "{lost}: {error}");
    }
}

#[test]
fn nothing_secret_is_printed() {
    let authorities = Authorities::generate("demo", now()).unwrap();
    let issued = issue_at(&authorities, &Stored::default(), &access(now()), now());
    let text = format!("{authorities:?} {issued:?} {:?}", stored(&issued));
    assert!(!text.contains("PRIVATE") && !text.contains("BEGIN"), "{text}");
}
