//! Reading certificates: names, usages, life, who issued them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::pem::{certificates, first_certificate};
use crate::validity::at;
use crate::{Error, Leaf, Result, Validity};

/// What a certificate says, in comparable form.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// Common name of the subject; empty when it has none.
    pub common_name: String,
    /// Organizations of the subject.
    pub organizations: BTreeSet<String>,
    /// DNS names, in lower case.
    pub dns_names: BTreeSet<String>,
    /// Addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// May a server show it?
    pub for_server: bool,
    /// May a client show it?
    pub for_client: bool,
    /// May it sign other certificates?
    pub is_authority: bool,
    /// Life.
    pub validity: Validity,
    /// Serial number, big endian.
    pub serial: Vec<u8>,
    /// SubjectPublicKeyInfo in DER.
    pub(crate) public_key: Vec<u8>,
}

impl Inspected {
    /// Reads the first certificate of a PEM text.
    pub fn parse(cert_pem: &str) -> Result<Self> {
        let der = first_certificate(cert_pem)?;
        Self::from_x509(&x509(&der)?)
    }

    fn from_x509(cert: &X509Certificate<'_>) -> Result<Self> {
        let text = |a: &x509_parser::x509::AttributeTypeAndValue<'_>| a.as_str().unwrap_or("").to_owned();
        let bad = |e: x509_parser::error::X509Error| Error::read("certificate", e);
        let mut dns_names = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        if let Some(names) = cert.subject_alternative_name().map_err(bad)? {
            for name in &names.value.general_names {
                match name {
                    GeneralName::DNSName(n) => {
                        dns_names.insert(n.to_ascii_lowercase());
                    }
                    GeneralName::IPAddress(bytes) => {
                        addresses.insert(address(bytes)?);
                    }
                    _ => {}
                }
            }
        }
        let usage = cert.extended_key_usage().map_err(bad)?;
        Ok(Inspected {
            common_name: cert.subject().iter_common_name().next().map(text).unwrap_or_default(),
            organizations: cert.subject().iter_organization().map(text).collect(),
            dns_names,
            addresses,
            for_server: usage.as_ref().is_some_and(|u| u.value.server_auth),
            for_client: usage.as_ref().is_some_and(|u| u.value.client_auth),
            is_authority: cert.is_ca(),
            validity: Validity {
                not_before: at(cert.validity().not_before.timestamp()),
                not_after: at(cert.validity().not_after.timestamp()),
            },
            serial: cert.raw_serial().to_vec(),
            public_key: cert.public_key().raw.to_vec(),
        })
    }

    /// Does it carry exactly the names, groups and usages that `leaf` wants? Order and case do not matter.
    pub fn matches(&self, leaf: &Leaf) -> bool {
        self.common_name == leaf.common_name
            && self.organizations == leaf.organizations.iter().cloned().collect()
            && self.dns_names == leaf.dns_set()
            && self.addresses == leaf.addresses.iter().copied().collect()
            && self.for_server == leaf.usage.server()
            && self.for_client == leaf.usage.client()
            && !self.is_authority
    }

    /// The moment from which it is to be renewed, spread by its random serial number.
    pub fn renewal(&self) -> Timestamp {
        self.validity.renewal(self.spread())
    }

    /// Is it to be renewed at `now`?
    pub fn renewal_due(&self, now: Timestamp) -> bool {
        self.validity.renewal_due(self.spread(), now)
    }

    fn spread(&self) -> u8 {
        self.serial.last().copied().unwrap_or(0)
    }
}

/// The life of the first certificate of a PEM text.
pub fn validity(cert_pem: &str) -> Result<Validity> {
    Ok(Inspected::parse(cert_pem)?.validity)
}

/// Has the certificate passed (nearly) two thirds of its life, or is it outside of it?
pub fn needs_renewal(cert_pem: &str, now: Timestamp) -> Result<bool> {
    Ok(Inspected::parse(cert_pem)?.renewal_due(now))
}

/// Does the certificate carry exactly the names and usages that are wanted?
pub fn names_match(cert_pem: &str, leaf: &Leaf) -> Result<bool> {
    Ok(Inspected::parse(cert_pem)?.matches(leaf))
}

/// Did one of the authorities in `ca_pem` (one certificate or a bundle) sign this certificate? Checks the issuer's
/// name and the signature, not the time.
pub fn issued_by(cert_pem: &str, ca_pem: &str) -> Result<bool> {
    let der = first_certificate(cert_pem)?;
    let cert = x509(&der)?;
    for ca in certificates(ca_pem)? {
        let ca = x509(&ca)?;
        if ca.is_ca()
            && ca.subject().as_raw() == cert.issuer().as_raw()
            && cert.verify_signature(Some(ca.public_key())).is_ok()
        {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One PEM text of several authorities for verifiers during a rotation, each certificate once, in the given order.
pub fn bundle<'a>(cas: impl IntoIterator<Item = &'a str>) -> Result<String> {
    let mut seen = BTreeSet::new();
    let mut text = String::new();
    for ca in cas {
        for der in certificates(ca)? {
            if seen.insert(der.to_vec()) {
                text.push_str(&encode(&der));
            }
        }
    }
    Ok(text)
}

/// The certificates of a PEM text, each in a text of its own.
pub(crate) fn pem_each(text: &str) -> Result<Vec<String>> {
    Ok(certificates(text)?.iter().map(|der| encode(der)).collect())
}

/// PEM of one certificate, 64 characters a line (RFC 7468).
fn encode(der: &[u8]) -> String {
    use base64::Engine;
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let mut text = String::from("-----BEGIN CERTIFICATE-----\n");
    let mut rest = body.as_str();
    while !rest.is_empty() {
        let (line, tail) = rest.split_at(rest.len().min(64));
        text.push_str(line);
        text.push('\n');
        rest = tail;
    }
    text.push_str("-----END CERTIFICATE-----\n");
    text
}

fn x509(der: &[u8]) -> Result<X509Certificate<'_>> {
    X509Certificate::from_der(der).map(|(_, cert)| cert).map_err(|e| Error::read("certificate", e))
}

fn address(bytes: &[u8]) -> Result<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).map(IpAddr::from).map_err(|e| Error::read("certificate", e)),
        16 => <[u8; 16]>::try_from(bytes).map(IpAddr::from).map_err(|e| Error::read("certificate", e)),
        n => Err(Error::read("certificate", format!("an address of {n} bytes in its names"))),
    }
}
