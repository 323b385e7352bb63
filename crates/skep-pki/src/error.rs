//! What can go wrong with certificates and kubeconfigs. No message ever holds key material.

use jiff::Timestamp;

/// Errors of this crate; the text says which thing is wrong and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The cryptographic library refused to make a key or a certificate.
    #[error("cannot make {what}: {reason}")]
    Make {
        /// What was to be made.
        what: String,
        /// The library's own words.
        reason: String,
    },
    /// A PEM text does not hold what was expected.
    #[error("cannot read {what}: {reason}; replace it or delete it so that a new one is issued")]
    Read {
        /// What was to be read.
        what: &'static str,
        /// Why it cannot be read.
        reason: String,
    },
    /// The certificate may not sign others.
    #[error("certificate {subject:?} is not a certificate authority; give the authority's own certificate")]
    NotAnAuthority {
        /// Common name of the certificate.
        subject: String,
    },
    /// Private key and certificate do not belong together.
    #[error("the private key does not belong to certificate {subject:?}; give the key it was issued for")]
    KeyMismatch {
        /// Common name of the certificate.
        subject: String,
    },
    /// The authority is no longer (or not yet) valid, so nothing it issues would be either.
    #[error("certificate authority {subject:?} is valid only from {not_before} to {not_after}; rotate it")]
    AuthorityNotValid {
        /// Common name of the authority.
        subject: String,
        /// First moment of validity.
        not_before: Timestamp,
        /// Last moment of validity.
        not_after: Timestamp,
    },
    /// A wanted certificate cannot be expressed.
    #[error("certificate {subject:?} cannot be issued: {reason}")]
    Invalid {
        /// Common name of the wanted certificate.
        subject: String,
        /// What to change.
        reason: String,
    },
    /// A kubeconfig cannot be read, written or merged.
    #[error("kubeconfig: {0}")]
    Kubeconfig(String),
}

impl Error {
    pub(crate) fn make(what: impl Into<String>, reason: impl ToString) -> Self {
        Error::Make { what: what.into(), reason: reason.to_string() }
    }

    pub(crate) fn read(what: &'static str, reason: impl ToString) -> Self {
        Error::Read { what, reason: reason.to_string() }
    }
}
