//! The description of a wanted certificate, checked before it is issued.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Duration;

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType,
};

use crate::{Error, Result};

/// Longest common name (`ub-common-name` of RFC 5280, appendix A.1).
const MAX_COMMON_NAME: usize = 64;
/// Object identifier of the organization attribute, for the second one of a subject.
const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

/// What a certificate is for; decides its extended key usages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Usage {
    /// Shown by a server.
    Server,
    /// Shown by a client.
    Client,
    /// Shown in both directions, as between the members of an etcd cluster.
    Both,
}

impl Usage {
    /// May be shown by a server.
    pub fn server(self) -> bool {
        self != Usage::Client
    }

    /// May be shown by a client.
    pub fn client(self) -> bool {
        self != Usage::Server
    }
}

/// A wanted leaf certificate. Kubernetes reads the user from `common_name` and its groups from `organizations`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaf {
    /// Common name, at most 64 bytes.
    pub common_name: String,
    /// Organizations, at most two.
    pub organizations: Vec<String>,
    /// DNS names a server answers for; the first label may be `*`.
    pub dns_names: Vec<String>,
    /// Addresses a server answers for.
    pub addresses: Vec<IpAddr>,
    /// What it is for.
    pub usage: Usage,
    /// How long it lives from the moment of issue (the authority's own end comes first if it is earlier).
    pub life: Duration,
}

impl Leaf {
    /// A client certificate for user `common_name`.
    pub fn client(common_name: impl Into<String>, life: Duration) -> Self {
        Leaf::new(common_name, Usage::Client, life)
    }

    /// A server certificate; add its names with [`Leaf::dns`] and [`Leaf::address`].
    pub fn server(common_name: impl Into<String>, life: Duration) -> Self {
        Leaf::new(common_name, Usage::Server, life)
    }

    /// A certificate that is shown in both directions.
    pub fn both(common_name: impl Into<String>, life: Duration) -> Self {
        Leaf::new(common_name, Usage::Both, life)
    }

    fn new(common_name: impl Into<String>, usage: Usage, life: Duration) -> Self {
        Leaf {
            common_name: common_name.into(),
            organizations: Vec::new(),
            dns_names: Vec::new(),
            addresses: Vec::new(),
            usage,
            life,
        }
    }

    /// Adds an organization (a group of the user).
    pub fn organization(mut self, name: impl Into<String>) -> Self {
        self.organizations.push(name.into());
        self
    }

    /// Adds a DNS name.
    pub fn dns(mut self, name: impl Into<String>) -> Self {
        self.dns_names.push(name.into());
        self
    }

    /// Adds an address.
    pub fn address(mut self, address: impl Into<IpAddr>) -> Self {
        self.addresses.push(address.into());
        self
    }

    /// The DNS names as they are compared and issued: lower case, once each, in order of the alphabet.
    pub(crate) fn dns_set(&self) -> BTreeSet<String> {
        self.dns_names.iter().map(|n| n.to_ascii_lowercase()).collect()
    }

    fn invalid(&self, reason: impl Into<String>) -> Error {
        Error::Invalid { subject: self.common_name.clone(), reason: reason.into() }
    }

    /// Checks everything that a verifier would stumble over.
    pub(crate) fn check(&self) -> Result<()> {
        check_common_name(&self.common_name).map_err(|r| self.invalid(r))?;
        if self.organizations.len() > 2 {
            return Err(self.invalid("more than two organizations are not supported"));
        }
        let distinct: BTreeSet<_> = self.organizations.iter().collect();
        if distinct.len() != self.organizations.len() || distinct.iter().any(|o| o.is_empty()) {
            return Err(self.invalid("organizations must be distinct and not empty"));
        }
        if let Some(bad) = self.dns_names.iter().find(|n| !is_dns_name(n)) {
            return Err(self.invalid(format!("{bad:?} is not a DNS name")));
        }
        if self.usage.server() && self.dns_names.is_empty() && self.addresses.is_empty() {
            return Err(self.invalid("a server certificate needs at least one DNS name or address"));
        }
        if self.life.is_zero() {
            return Err(self.invalid("its life must be longer than zero"));
        }
        Ok(())
    }

    /// The parameters for the certificate library, without validity and serial number.
    pub(crate) fn params(&self) -> Result<CertificateParams> {
        self.check()?;
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(&self.common_name, &self.organizations);
        for name in self.dns_set() {
            let name = name.try_into().map_err(|e: rcgen::Error| self.invalid(e.to_string()))?;
            params.subject_alt_names.push(SanType::DnsName(name));
        }
        let addresses: BTreeSet<IpAddr> = self.addresses.iter().copied().collect();
        params.subject_alt_names.extend(addresses.into_iter().map(SanType::IpAddress));
        // "Explicit" writes basicConstraints CA:FALSE and the subject key identifier.
        params.is_ca = IsCa::ExplicitNoCa;
        // ECDSA keys only sign; key encipherment belongs to RSA key exchange.
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if self.usage.server() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if self.usage.client() {
            params.extended_key_usages.push(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        Ok(params)
    }
}

/// A subject of organizations and a common name.
pub(crate) fn subject(common_name: &str, organizations: &[String]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // The library keeps one value per attribute key; the second organization goes in under its raw identifier.
    for (i, organization) in organizations.iter().enumerate() {
        let kind =
            if i == 0 { DnType::OrganizationName } else { DnType::CustomDnType(ORGANIZATION.to_vec()) };
        name.push(kind, organization.as_str());
    }
    name.push(DnType::CommonName, common_name);
    name
}

/// Says what is wrong with a common name.
pub(crate) fn check_common_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > MAX_COMMON_NAME {
        return Err(format!("its common name must have 1 to {MAX_COMMON_NAME} bytes, it has {}", name.len()));
    }
    Ok(())
}

/// Host names as Go's and rustls' verifiers take them: labels of letters, digits, `-` and `_`, `*` alone first.
fn is_dns_name(name: &str) -> bool {
    let name = name.strip_prefix("*.").unwrap_or(name);
    let label = |l: &str| {
        (1..=63).contains(&l.len())
            && !l.starts_with('-')
            && !l.ends_with('-')
            && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn names_are_checked() {
        for good in ["a", "a.b", "*.a.b", "x-1.skep.internal", "kubernetes.default.svc"] {
            assert!(is_dns_name(good), "{good}");
        }
        for bad in ["", "*", "a..b", "-a", "a-", "a.*.b", "a b", "ä", &"a".repeat(64), "a."] {
            assert!(!is_dns_name(bad), "{bad}");
        }
    }

    #[test]
    fn unissuable_leaves_are_refused() {
        let bad = [
            Leaf::server("nameless", HOUR),
            Leaf::client("", HOUR),
            Leaf::client("x".repeat(65), HOUR),
            Leaf::client("x", Duration::ZERO),
            Leaf::server("x", HOUR).dns("not a name"),
            Leaf::client("x", HOUR).organization("a").organization("a"),
            Leaf::client("x", HOUR).organization(""),
            Leaf::client("x", HOUR).organization("a").organization("b").organization("c"),
        ];
        for leaf in bad {
            assert!(matches!(leaf.check(), Err(Error::Invalid { .. })), "{leaf:?}");
        }
    }
}
