//! Certificate authorities: making one, reading one back, issuing leaves.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rand::Rng;
use rcgen::{
    BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair as Key, KeyUsagePurpose, PublicKeyData,
    SerialNumber,
};

use rustls_pki_types::PrivateKeyDer;

use crate::leaf::{check_common_name, subject};
use crate::pem::first_certificate;
use crate::{Error, Inspected, Leaf, Pem, Result, Validity};

/// A certificate with its private key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyPair {
    /// The certificate.
    pub cert_pem: String,
    /// Its PKCS#8 private key.
    pub key_pem: Pem,
}

/// A self-signed authority that may sign leaves but no further authorities (path length 0). Cheap to clone.
#[derive(Clone)]
pub struct Authority {
    cert_pem: String,
    subject: String,
    validity: Validity,
    key: Arc<Key>,
}

impl Authority {
    /// Makes a new authority that lives for `life` from `now`.
    pub fn generate(common_name: &str, life: Duration, now: Timestamp) -> Result<Self> {
        check_common_name(common_name)
            .map_err(|reason| Error::Invalid { subject: common_name.to_owned(), reason })?;
        let key = new_key()?;
        let validity = Validity::starting(now, life, None);
        let mut params = CertificateParams::default();
        params.distinguished_name = subject(common_name, &[]);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.use_authority_key_identifier_extension = true;
        stamp(&mut params, validity);
        let cert = params.self_signed(&key).map_err(|e| Error::make(common_name, e))?;
        Ok(Authority { cert_pem: cert.pem(), subject: common_name.to_owned(), validity, key: Arc::new(key) })
    }

    /// Reads an authority back. Refuses a certificate that is none, and a key that is not its own.
    pub fn from_pem(cert_pem: &str, key_pem: &str) -> Result<Self> {
        Self::checked(cert_pem, Key::from_pem(key_pem).map_err(|e| Error::read("private key", e))?)
    }

    pub(crate) fn from_der_key(cert_pem: &str, key: &PrivateKeyDer<'_>) -> Result<Self> {
        Self::checked(cert_pem, Key::try_from(key).map_err(|e| Error::read("private key", e))?)
    }

    fn checked(cert_pem: &str, key: Key) -> Result<Self> {
        let found = Inspected::parse(cert_pem)?;
        if !found.is_authority {
            return Err(Error::NotAnAuthority { subject: found.common_name });
        }
        if key.subject_public_key_info() != found.public_key {
            return Err(Error::KeyMismatch { subject: found.common_name });
        }
        Ok(Authority {
            cert_pem: cert_pem.to_owned(),
            subject: found.common_name,
            validity: found.validity,
            key: Arc::new(key),
        })
    }

    /// The authority's certificate.
    pub fn cert_pem(&self) -> &str {
        &self.cert_pem
    }

    /// The authority's private key.
    pub fn key_pem(&self) -> Pem {
        Pem::new(self.key.serialize_pem())
    }

    /// Certificate and key, as they are stored.
    pub fn pair(&self) -> KeyPair {
        KeyPair { cert_pem: self.cert_pem.clone(), key_pem: self.key_pem() }
    }

    /// Common name of the authority.
    pub fn common_name(&self) -> &str {
        &self.subject
    }

    /// Life of the authority.
    pub fn validity(&self) -> Validity {
        self.validity
    }

    /// Issues a leaf with a key of its own. Refuses when the authority is not valid at `now`.
    pub fn issue(&self, leaf: &Leaf, now: Timestamp) -> Result<KeyPair> {
        if !self.validity.contains(now) {
            return Err(Error::AuthorityNotValid {
                subject: self.subject.clone(),
                not_before: self.validity.not_before,
                not_after: self.validity.not_after,
            });
        }
        let mut params = leaf.params()?;
        stamp(&mut params, Validity::starting(now, leaf.life, Some(self.validity.not_after)));
        let made = |e| Error::make(leaf.common_name.as_str(), e);
        let issuer =
            Issuer::from_ca_cert_der(&first_certificate(&self.cert_pem)?, &*self.key).map_err(made)?;
        let key = new_key()?;
        let cert = params.signed_by(&key, &issuer).map_err(made)?;
        Ok(KeyPair { cert_pem: cert.pem(), key_pem: Pem::new(key.serialize_pem()) })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("subject", &self.subject)
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

/// A new P-256 key.
pub(crate) fn new_key() -> Result<Key> {
    Key::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map_err(|e| Error::make("a private key", e))
}

/// Writes validity and a random serial number.
fn stamp(params: &mut CertificateParams, validity: Validity) {
    let moment = |t: Timestamp| {
        // Seconds since 1970 fit: certificates are neither older nor newer than what jiff can express.
        rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(t.as_second().max(0).unsigned_abs())
    };
    params.not_before = moment(validity.not_before);
    params.not_after = moment(validity.not_after);
    // 126 random bits; the top bits make it positive and of one length (RFC 5280, 4.1.2.2 allows 20 bytes).
    let mut serial = [0u8; 16];
    rand::rng().fill(&mut serial);
    serial[0] = serial[0] & 0x3f | 0x40;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
}
