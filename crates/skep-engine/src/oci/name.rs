//! Names of container images, as container runtimes write them in full.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::image::ImageRef;

/// A full name: registry, repository, tag. What is short is completed as container runtimes do it: `nginx` is
/// `docker.io/library/nginx:latest`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(ImageRef);

/// The registry of names without one.
const DEFAULT_REGISTRY: &str = "docker.io";
/// The tag of names without one.
const DEFAULT_TAG: &str = "latest";

impl Name {
    /// From the parts of a registry's URL: `registry.k8s.io`, `e2e-test-images/agnhost`, `2.63.0`.
    ///
    /// # Errors
    /// [`Error::InvalidImage`].
    pub fn new(registry: &str, repository: &str, tag: &str) -> Result<Self> {
        ImageRef::new(&format!("{registry}/{repository}"), tag).map(Self)
    }

    /// `registry.k8s.io`.
    pub fn registry(&self) -> &str {
        self.split().0
    }

    /// `e2e-test-images/agnhost`.
    pub fn repository(&self) -> &str {
        self.split().1
    }

    /// `2.63.0`.
    pub fn tag(&self) -> &str {
        self.0.tag()
    }

    /// As a name that the engine may know.
    pub fn image(&self) -> &ImageRef {
        &self.0
    }

    fn split(&self) -> (&str, &str) {
        self.0.repository().split_once('/').unwrap_or_default()
    }
}

impl From<ImageRef> for Name {
    fn from(image: ImageRef) -> Self {
        Self(image)
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (path, tag) = match text.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => (path, tag),
            _ => (text, DEFAULT_TAG),
        };
        match path.split_once('/') {
            Some((host, repository)) if host.contains(['.', ':']) || host == "localhost" => {
                Self::new(host, repository, tag)
            }
            Some(_) => Self::new(DEFAULT_REGISTRY, path, tag),
            None => Self::new(DEFAULT_REGISTRY, &format!("library/{path}"), tag),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_completed() {
        for (short, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1", "docker.io/library/nginx:1"),
            ("me/app", "docker.io/me/app:latest"),
            ("localhost/app:2", "localhost/app:2"),
            ("localhost:5000/app", "localhost:5000/app:latest"),
            ("registry.k8s.io/pause:3.10", "registry.k8s.io/pause:3.10"),
        ] {
            assert_eq!(short.parse::<Name>().unwrap().to_string(), full);
        }
    }

    #[test]
    fn parts() {
        let name: Name = "registry.k8s.io/e2e-test-images/agnhost:2.63.0".parse().unwrap();
        let parts = (name.registry(), name.repository(), name.tag());
        assert_eq!(parts, ("registry.k8s.io", "e2e-test-images/agnhost", "2.63.0"));
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for bad in ["", ":", "a/../b", "A", "a:b:c d", "a@sha256:00", "/a", "a//b"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?} was taken");
        }
    }
}
