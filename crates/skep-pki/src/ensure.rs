//! Keep what is good, replace what is not, and say why: the one decision every owner of a certificate makes.

use jiff::Timestamp;
use rcgen::{KeyPair as Key, PublicKeyData};

use crate::{Authority, Inspected, KeyPair, Leaf, Result, issued_by};

/// Why a certificate has to be issued (again).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// There is none yet.
    Missing,
    /// Certificate or key cannot be read.
    Unreadable,
    /// The key is not the certificate's.
    KeyMismatch,
    /// It was signed by another authority.
    OtherAuthority,
    /// It carries other names, groups or usages than are wanted.
    OtherNames,
    /// Two thirds of its life are over, or it is not valid now.
    RenewalDue,
}

impl Reason {
    /// A short text for a person ("renewal due").
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::Missing => "missing",
            Reason::Unreadable => "unreadable",
            Reason::KeyMismatch => "the key does not belong to the certificate",
            Reason::OtherAuthority => "signed by another authority",
            Reason::OtherNames => "names or usages changed",
            Reason::RenewalDue => "renewal due",
        }
    }
}

/// The pair to use from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    /// Kept or newly issued.
    pub pair: KeyPair,
    /// Why it was issued; `None` when it was kept.
    pub issued: Option<Reason>,
    /// When to look again: the moment its renewal is due.
    pub renewal: Timestamp,
}

/// Why `existing` does not serve as `leaf` signed by `ca_pem` at `now`; `None` when it does.
pub fn judge(existing: Option<&KeyPair>, ca_pem: &str, leaf: &Leaf, now: Timestamp) -> Option<Reason> {
    let Some(pair) = existing else { return Some(Reason::Missing) };
    let (Ok(found), Ok(key)) = (Inspected::parse(&pair.cert_pem), Key::from_pem(pair.key_pem.as_str()))
    else {
        return Some(Reason::Unreadable);
    };
    if key.subject_public_key_info() != found.public_key {
        return Some(Reason::KeyMismatch);
    }
    if !issued_by(&pair.cert_pem, ca_pem).unwrap_or(false) {
        return Some(Reason::OtherAuthority);
    }
    if !found.matches(leaf) {
        return Some(Reason::OtherNames);
    }
    found.renewal_due(now).then_some(Reason::RenewalDue)
}

impl Authority {
    /// Keeps `existing` when it serves as `leaf`, else issues a new pair. Idempotent: what it returns is kept by
    /// the next call, until the renewal is due.
    pub fn ensure(&self, existing: Option<&KeyPair>, leaf: &Leaf, now: Timestamp) -> Result<Ensured> {
        let issued = judge(existing, self.cert_pem(), leaf, now);
        let pair = match (existing, issued) {
            (Some(pair), None) => pair.clone(),
            _ => self.issue(leaf, now)?,
        };
        let renewal = Inspected::parse(&pair.cert_pem)?.renewal();
        Ok(Ensured { pair, issued, renewal })
    }
}
