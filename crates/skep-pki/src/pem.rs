//! PEM texts that must not be printed, and the little decoding the other modules share.

use std::fmt;

use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::{Error, Result};

/// A PEM text with private material. `Debug` shows only its length; there is no `Display`, so it cannot reach a
/// log or an error by accident. Comparison is by content.
#[derive(Clone, PartialEq, Eq)]
pub struct Pem(String);

impl Pem {
    /// Takes a PEM text; it is not checked until it is used.
    pub fn new(text: impl Into<String>) -> Self {
        Pem(text.into())
    }

    /// The text, for writing it to a Secret or a file.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text as bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    /// Gives the text away.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl From<String> for Pem {
    fn from(text: String) -> Self {
        Pem(text)
    }
}

impl From<&str> for Pem {
    fn from(text: &str) -> Self {
        Pem(text.to_owned())
    }
}

impl AsRef<[u8]> for Pem {
    fn as_ref(&self) -> &[u8] {
        self.as_bytes()
    }
}

impl fmt::Debug for Pem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pem(<{} bytes>)", self.0.len())
    }
}

/// All certificates of a PEM text, in order. Other sections are skipped; none at all is an error.
pub(crate) fn certificates(text: &str) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| Error::read("certificate", e))?;
    if found.is_empty() {
        return Err(Error::read("certificate", "no CERTIFICATE section in the PEM text"));
    }
    Ok(found)
}

/// The first certificate of a PEM text (a leaf precedes its chain).
pub(crate) fn first_certificate(text: &str) -> Result<CertificateDer<'static>> {
    certificates(text)?
        .into_iter()
        .next()
        .ok_or_else(|| Error::read("certificate", "no CERTIFICATE section in the PEM text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_nothing() {
        let text = format!("{:?}", Pem::new("-----BEGIN PRIVATE KEY-----\nabc"));
        assert_eq!(text, "Pem(<31 bytes>)");
    }

    #[test]
    fn text_without_certificate_is_refused() {
        for text in ["", "hello", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
            assert!(certificates(text).is_err(), "{text:?}");
        }
        assert!(certificates("-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n").is_err());
    }
}
