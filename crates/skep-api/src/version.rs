//! Kubernetes versions as people write them (`v1.36.3`).

use std::{fmt, str::FromStr};

/// Pattern of a full version in every schema.
pub const PATTERN: &str = r"^v[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}(-[0-9A-Za-z.-]{1,30})?$";

/// A released Kubernetes version: always with minor and patch, ordered by semantic versioning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KubeVersion(semver::Version);

/// The text is not a version like `v1.36.3`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a Kubernetes version: write it like v1.36.3")]
pub struct NotAVersion(pub String);

impl KubeVersion {
    /// The minor: 36 for `v1.36.3`.
    pub fn minor(&self) -> u64 {
        self.0.minor
    }

    /// The patch: 3 for `v1.36.3`.
    pub fn patch(&self) -> u64 {
        self.0.patch
    }

    /// `1.36`, as releases and skew rules name it.
    pub fn major_minor(&self) -> String {
        format!("{}.{}", self.0.major, self.0.minor)
    }
}

impl FromStr for KubeVersion {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        text.strip_prefix('v')
            .and_then(|bare| semver::Version::parse(bare).ok())
            .filter(|version| version.build.is_empty())
            .map(Self)
            .ok_or_else(|| NotAVersion(text.to_owned()))
    }
}

impl fmt::Display for KubeVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_by_number_not_by_text() {
        let old: KubeVersion = "v1.35.10".parse().unwrap();
        let new: KubeVersion = "v1.36.3".parse().unwrap();
        assert!("v1.35.9".parse::<KubeVersion>().unwrap() < old && old < new);
        assert_eq!((new.minor(), new.patch(), new.major_minor().as_str()), (36, 3, "1.36"));
        assert_eq!(new.to_string(), "v1.36.3");
    }

    #[test]
    fn refuses_what_is_not_a_full_version() {
        for bad in ["", "1.36.3", "v1.36", "v1.36.3+k3s1", "latest", "v1.36.x", "v01.2.3"] {
            assert_eq!(bad.parse::<KubeVersion>(), Err(NotAVersion(bad.to_owned())), "{bad}");
        }
    }
}
