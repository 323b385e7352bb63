//! What a certificate says of whom it belongs to.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

/// Group of all kubelets.
const NODES: &str = "system:nodes";
/// Before the name of a node in a kubelet's user name.
const NODE: &str = "system:node:";

/// The few fields that are read. They count only once the certificate has been verified.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) common_name: String,
    pub(crate) organizations: Vec<String>,
    pub(crate) dns_names: Vec<String>,
    /// End of its life, seconds since 1970.
    pub(crate) until: i64,
}

impl Peer {
    /// Reads a certificate; nothing if it is none.
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
        let text =
            |value: &x509_parser::x509::AttributeTypeAndValue<'_>| value.as_str().ok().map(str::to_owned);
        let names = certificate.subject_alternative_name().ok().flatten();
        let dns = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
            _ => None,
        };
        Some(Self {
            common_name: certificate.subject().iter_common_name().find_map(text).unwrap_or_default(),
            organizations: certificate.subject().iter_organization().filter_map(text).collect(),
            dns_names: names.iter().flat_map(|names| &names.value.general_names).filter_map(dns).collect(),
            until: certificate.validity().not_after.timestamp(),
        })
    }

    /// The node whose kubelet this is, by upstream's rule (`NodeAuthorizer`: user and group).
    pub(crate) fn node(&self) -> Option<&str> {
        let node = self.common_name.strip_prefix(NODE)?;
        let valid = |name: &str| {
            (1..=253).contains(&name.len())
                && name
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.'))
        };
        (valid(node) && self.organizations.iter().any(|group| group == NODES)).then_some(node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(common_name: &str, organizations: &[&str]) -> Peer {
        let organizations = organizations.iter().map(|name| (*name).to_owned()).collect();
        Peer { common_name: common_name.into(), organizations, ..Peer::default() }
    }

    #[test]
    fn only_kubelets_are_nodes() {
        assert_eq!(peer("system:node:worker-1", &["system:nodes"]).node(), Some("worker-1"));
        for (name, groups) in [
            ("system:node:worker-1", &[][..]),
            ("system:node:worker-1", &["system:masters"]),
            ("worker-1", &["system:nodes"]),
            ("system:node:", &["system:nodes"]),
            ("system:node:a/b", &["system:nodes"]),
            ("system:node:A", &["system:nodes"]),
        ] {
            assert_eq!(peer(name, groups).node(), None, "{name} {groups:?}");
        }
    }

    #[test]
    fn noise_is_no_certificate() {
        assert_eq!(Peer::read(&CertificateDer::from(vec![0x30, 3, 1, 2, 3])), None);
        assert_eq!(Peer::read(&CertificateDer::from(Vec::new())), None);
    }
}
