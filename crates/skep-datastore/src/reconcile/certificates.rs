//! Which certificates a datastore keeps and which it gets anew: pure, given what is stored and the time.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Secret;
use skep_pki::{AuthorityPlan, Error, Generations, KeyPair, Leaf, Reason};
use skep_plan::address::StableHost;

use super::validate::Wanted;
use crate::Config;
use crate::etcd::ROOT;
use crate::secrets::{CERT, KEY, PEER_CERT, PEER_KEY, Side, pair};

/// The Secrets as they are stored.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stored {
    pub ca: Option<Secret>,
    pub server: Option<Secret>,
    pub root: Option<Secret>,
}

/// The certificates to use from now on.
#[derive(Debug, Clone)]
pub(crate) struct Certificates {
    /// Signs what members show.
    pub server_ca: Generations,
    /// Signs what clients show.
    pub client_ca: Generations,
    /// Shown to clients.
    pub server: KeyPair,
    /// Shown to other members.
    pub peer: KeyPair,
    /// The operator's own.
    pub root: KeyPair,
    /// An authority was made or retired: see [`super::fence`].
    pub new_authority: bool,
    /// What was issued anew, and why.
    pub issued: Vec<(&'static str, &'static str)>,
    /// When to look again.
    pub renewal: Timestamp,
}

/// Keeps what is good and issues the rest.
///
/// # Errors
/// A key or certificate could not be made.
pub(crate) fn plan(
    stored: &Stored,
    wanted: &Wanted,
    config: &Config,
    now: Timestamp,
) -> Result<Certificates, Error> {
    let mut issued = Vec::new();
    let mut renewal = Timestamp::MAX;
    let mut authority = |side: Side, what: &'static str| {
        let plan = AuthorityPlan {
            common_name: format!("{}-{what}", wanted.name),
            life: config.authority_life,
            overlap: config.overlap,
            leaf_life: longest(config),
        };
        let before = side.read(stored.ca.as_ref());
        let first = before.is_empty();
        let (generations, changed) = Generations::advance(before, &plan, now)?;
        if changed {
            issued.push((what, if first { Reason::Missing.as_str() } else { "rotated" }));
        }
        renewal = renewal.min(generations.next().unwrap_or(Timestamp::MAX));
        Ok(generations)
    };
    let server_ca = authority(Side::Server, "server-ca")?;
    let client_ca = authority(Side::Client, "client-ca")?;
    let new_authority = !issued.is_empty();
    let member = |leaf: Leaf| match &wanted.host {
        StableHost::Address(address) => leaf.address(*address),
        StableHost::Name(name) => leaf.dns(name.as_str()),
    };
    let life = config.leaf_life;
    let mut leaf = |what: &'static str, by: &Generations, existing: Option<KeyPair>, leaf: Leaf| {
        let ensured = by.signer().ensure(existing.as_ref(), &leaf, now)?;
        issued.extend(ensured.issued.map(|reason| (what, reason.as_str())));
        renewal = renewal.min(ensured.renewal);
        Ok(ensured.pair)
    };
    let (server, root) = (stored.server.as_ref(), stored.root.as_ref());
    Ok(Certificates {
        server: leaf(
            "server",
            &server_ca,
            pair(server, CERT, KEY),
            member(Leaf::server(wanted.member(), life)),
        )?,
        peer: leaf(
            "peer",
            &server_ca,
            pair(server, PEER_CERT, PEER_KEY),
            member(Leaf::both(wanted.member(), life)),
        )?,
        root: leaf("root", &client_ca, pair(root, CERT, KEY), Leaf::client(ROOT, life))?,
        server_ca,
        client_ca,
        new_authority,
        issued,
        renewal,
    })
}

/// The longest life of what the authorities sign: tenants' certificates live a year.
fn longest(config: &Config) -> Duration {
    config.leaf_life.max(crate::etcd_tenants::CLIENT_LIFE)
}

#[cfg(test)]
pub(crate) mod tests {
    use jiff::SignedDuration;
    use skep_pki::{Inspected, issued_by};

    use super::*;
    use crate::reconcile::build::objects;
    use crate::reconcile::validate::tests::{config, wanted};

    fn now() -> Timestamp {
        Timestamp::from_second(1_790_000_000).unwrap()
    }

    /// A complete set for other tests.
    pub(crate) fn certificates() -> Certificates {
        plan(&Stored::default(), &wanted(), &config(), now()).unwrap()
    }

    /// What the API server stores of these certificates.
    fn stored(certificates: &Certificates) -> Stored {
        let mut secrets = objects(&wanted(), certificates).unwrap().secrets.into_iter();
        Stored { ca: secrets.next(), server: secrets.next(), root: secrets.next() }
    }

    #[test]
    fn the_first_pass_issues_everything_and_the_second_nothing() {
        let first = certificates();
        let names: Vec<_> = first.issued.iter().map(|(what, _)| *what).collect();
        assert_eq!(names, ["server-ca", "client-ca", "server", "peer", "root"]);
        let second = plan(&stored(&first), &wanted(), &config(), now()).unwrap();
        assert!(second.issued.is_empty(), "{:?}", second.issued);
        assert_eq!((second.server, second.peer, second.root), (first.server, first.peer, first.root));
        assert_eq!(second.renewal, first.renewal);
    }

    #[test]
    fn each_certificate_is_for_its_purpose_only() {
        let c = certificates();
        let (server, peer, root) = (
            Inspected::parse(&c.server.cert_pem).unwrap(),
            Inspected::parse(&c.peer.cert_pem).unwrap(),
            Inspected::parse(&c.root.cert_pem).unwrap(),
        );
        assert!(server.for_server && !server.for_client);
        assert!(peer.for_server && peer.for_client);
        assert!(root.for_client && !root.for_server);
        assert_eq!(root.common_name, "root");
        assert_eq!(server.addresses.len(), 1);
        // A tenant's certificate is worth nothing among members, a member's nothing as a client.
        assert!(!issued_by(&c.root.cert_pem, &c.server_ca.trusted_pem().unwrap()).unwrap());
        assert!(!issued_by(&c.peer.cert_pem, &c.client_ca.trusted_pem().unwrap()).unwrap());
    }

    #[test]
    fn what_is_damaged_is_replaced_with_what_depends_on_it() {
        let first = certificates();
        let without_ca = Stored { ca: None, ..stored(&first) };
        let c = plan(&without_ca, &wanted(), &config(), now()).unwrap();
        assert_eq!(c.issued.len(), 5, "a new authority replaces all it signs: {:?}", c.issued);
        let without_root = Stored { root: None, ..stored(&first) };
        let c = plan(&without_root, &wanted(), &config(), now()).unwrap();
        assert_eq!(c.issued, [("root", "missing")]);
    }

    #[test]
    fn a_changed_name_reissues_the_members_certificates_only() {
        let cluster = Config { network: skep_plan::address::PodNetwork::Cluster, ..config() };
        let moved = Wanted::of(&crate::reconcile::validate::tests::datastore(), &cluster).unwrap();
        let c = plan(&stored(&certificates()), &moved, &cluster, now()).unwrap();
        let names: Vec<_> = c.issued.iter().map(|(what, _)| *what).collect();
        assert_eq!(names, ["server", "peer"]);
        let found = Inspected::parse(&c.server.cert_pem).unwrap();
        assert!(found.dns_names.contains("main-0.main.skep-system.svc"), "{found:?}");
    }

    /// Twenty years of passes, each at the moment the last one asked for: whatever is shown is trusted by a verifier
    /// that read the bundle one pass earlier, and nothing is ever out of its time.
    #[test]
    fn twenty_years_of_renewals() {
        let (mut at, mut stored_now, mut trusted) = (now(), Stored::default(), None::<(String, String)>);
        let end = now() + SignedDuration::from_hours(24 * 365 * 20);
        let mut rotations = 0;
        while at < end {
            let c = plan(&stored_now, &wanted(), &config(), at).unwrap();
            for (pair, ca) in [(&c.server, 0), (&c.peer, 0), (&c.root, 1)] {
                assert!(Inspected::parse(&pair.cert_pem).unwrap().validity.contains(at));
                if let Some((server, client)) = &trusted {
                    let bundle = if ca == 0 { server } else { client };
                    assert!(issued_by(&pair.cert_pem, bundle).unwrap(), "not trusted at {at}");
                }
            }
            rotations += c.issued.iter().filter(|(_, why)| *why == "rotated").count();
            trusted = Some((c.server_ca.trusted_pem().unwrap(), c.client_ca.trusted_pem().unwrap()));
            assert!(c.renewal > at);
            at = c.renewal;
            stored_now = stored(&c);
        }
        assert!(rotations >= 4, "two authorities, introduced and retired: {rotations}");
    }
}
