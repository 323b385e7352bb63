//! The uid of a pod as a value that is safe to use as a file name.

use std::fmt;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::BackendError;

/// Longest uid taken. API servers hand out 36 characters.
const LONGEST: usize = 64;

/// The uid of a pod. Only letters, digits, `-` and `_`, so it can never leave the directory it is joined to.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PodUid(Arc<str>);

impl PodUid {
    /// Takes a uid from a string.
    pub fn parse(text: &str) -> Result<Self, BackendError> {
        let fits = (1..=LONGEST).contains(&text.len())
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(BackendError::Uid(text.chars().take(LONGEST).collect()))
        }
    }

    /// The uid of a pod as the API server gave it.
    pub fn of(pod: &Pod) -> Result<Self, BackendError> {
        Self::parse(pod.metadata.uid.as_deref().unwrap_or_default())
    }

    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for PodUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::PodUid;

    #[test]
    fn only_safe_file_names() {
        assert!(PodUid::parse("0b6d9bd6-6f1e-4a4a-9d0c-6a2a8d1d4f11").is_ok());
        for bad in ["", ".", "..", "a/b", "a\0b", "ä", "a b", &"x".repeat(65)] {
            assert!(PodUid::parse(bad).is_err(), "{bad:?}");
        }
    }
}
