//! The one name of a tenant in its cell.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Longest part of the cluster's name that goes into the id.
const NAME_CHARS: usize = 30;
/// Characters of hash behind the name: 40 bits.
const HASH_CHARS: usize = 8;
/// Pattern of a tenant id in every schema.
pub const PATTERN: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// Longest tenant id: it is a namespace and a DNS label (63) with room for what is put behind it.
pub const MAX_LENGTH: usize = NAME_CHARS + 1 + HASH_CHARS;

/// Name of a tenant in its cell: its namespace, the first label of its SNI host, its etcd user and its etcd prefix.
///
/// It carries the cluster's name for people and a hash of the cluster's UID, so that a cluster that was deleted and
/// made again under the same name shares nothing with its predecessor.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

/// The text cannot be a tenant id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a tenant id: 1 to {MAX_LENGTH} of a-z, 0-9 and -, with a letter or digit at both ends")]
pub struct NotATenantId(pub String);

impl TenantId {
    /// The id of the cluster `name` with this `uid`. Names that are not DNS labels are made one.
    pub fn of_cluster(name: &str, uid: &str) -> Self {
        const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
        let digest = Sha256::digest(uid.as_bytes());
        let hash: String =
            digest.iter().take(HASH_CHARS).map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
        let name: String = name
            .chars()
            .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
            .take(NAME_CHARS)
            .collect();
        match name.trim_matches('-') {
            "" => Self(hash),
            name => Self(format!("{name}-{hash}")),
        }
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Key prefix of the tenant in its datastore, with a slash at both ends: `/skep/demo-abcd2345/`.
    pub fn key_prefix(&self) -> String {
        format!("/skep/{}/", self.0)
    }

    /// The name that clients put into TLS' SNI: `demo-abcd2345.skep.internal`.
    pub fn host(&self, domain: &str) -> String {
        format!("{}.{domain}", self.0)
    }
}

impl FromStr for TenantId {
    type Err = NotATenantId;

    fn from_str(text: &str) -> Result<Self, NotATenantId> {
        let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let fits = (1..=MAX_LENGTH).contains(&text.len());
        if fits && text.chars().all(inner) && !text.starts_with('-') && !text.ends_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotATenantId(text.to_owned()))
        }
    }
}

impl TryFrom<String> for TenantId {
    type Error = NotATenantId;

    fn try_from(text: String) -> Result<Self, NotATenantId> {
        text.parse()
    }
}

impl From<TenantId> for String {
    fn from(id: TenantId) -> Self {
        id.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_name_and_other_uid_is_another_tenant() {
        let one = TenantId::of_cluster("demo", "0b5c");
        assert_ne!(one, TenantId::of_cluster("demo", "0b5d"));
        assert_eq!(one, TenantId::of_cluster("demo", "0b5c"));
        assert!(one.as_str().starts_with("demo-"));
    }

    #[test]
    fn every_name_gives_a_valid_id() {
        for name in
            ["a", "x".repeat(253).as_str(), "UPPER.dots_", "---", "", "ends-here-with-a-dash-at-thirty-x"]
        {
            let id = TenantId::of_cluster(name, "uid");
            assert_eq!(id.as_str().parse::<TenantId>().as_ref(), Ok(&id), "{name}");
        }
    }

    #[test]
    fn refuses_what_could_reach_other_keys() {
        for bad in ["", "a/b", "..", "-a", "a-", "A", "a\0", &"a".repeat(MAX_LENGTH + 1)] {
            assert!(bad.parse::<TenantId>().is_err(), "{bad:?}");
        }
    }
}
