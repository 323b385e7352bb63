//! Names of images. A name is parsed once; every part of a parsed name is safe to use as a path component.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// A reference like `skep.dev/kube:v1.36.3`: a repository and a tag. References by digest are refused: the engine
/// resolves names to programs, and it is the engine that checks digests.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ImageRef {
    text: Box<str>,
    /// Where the `:` before the tag is.
    colon: usize,
}

/// The longest tag, as in the distribution specification.
const MAX_TAG: usize = 128;
/// The longest repository, as in the distribution specification.
const MAX_REPOSITORY: usize = 255;

impl ImageRef {
    /// Makes a reference from its two parts.
    ///
    /// # Errors
    /// [`Error::InvalidImage`] when a part is empty, too long, or has characters that do not belong there.
    pub fn new(repository: &str, tag: &str) -> Result<Self> {
        let refuse = |why| Err(Error::InvalidImage { given: format!("{repository}:{tag}"), why });
        if repository.is_empty() || repository.len() > MAX_REPOSITORY {
            return refuse("the part before the tag must have 1 to 255 characters");
        }
        let segment_ok = |segment: &str| {
            segment.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
                && segment.chars().all(|c| {
                    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '_' | '-' | ':')
                })
        };
        let mut segments = repository.split('/').peekable();
        while let Some(segment) = segments.next() {
            // Only the first segment can be a host with a port.
            let last = segments.peek().is_none();
            if !segment_ok(segment) || (last && segment.contains(':')) {
                return refuse(
                    "the part before the tag is lower-case letters, digits, `.`, `_`, `-`, separated by `/`",
                );
            }
        }
        if tag.is_empty() {
            return refuse("it names no version");
        }
        let tag_ok = tag.len() <= MAX_TAG
            && tag.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
            && tag.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
        if !tag_ok {
            return refuse(
                "a tag is at most 128 letters, digits, `.`, `_`, `-`, and starts with a letter or digit",
            );
        }
        Ok(Self::fixed(repository, tag))
    }

    /// For names that are fixed in this crate and therefore known to be valid (a test parses each).
    pub(crate) fn fixed(repository: &str, tag: &str) -> Self {
        Self { text: format!("{repository}:{tag}").into(), colon: repository.len() }
    }

    /// Everything before the tag: `skep.dev/kube`.
    pub fn repository(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The last segment of the repository, `kube`: the directory name in caches and given paths.
    pub fn name(&self) -> &str {
        self.repository().rsplit('/').next().unwrap_or_default()
    }

    /// The version: `v1.36.3`.
    pub fn tag(&self) -> &str {
        &self.text[self.colon + 1..]
    }
}

impl FromStr for ImageRef {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse = |why| Err(Error::InvalidImage { given: text.chars().take(300).collect(), why });
        if text.contains('@') {
            return refuse("images are named by version, not by digest");
        }
        match text.rsplit_once(':') {
            Some((repository, tag)) if !tag.contains('/') => Self::new(repository, tag),
            _ => refuse("it names no version"),
        }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn parts() {
        let image: ImageRef = "skep.dev/kube:v1.36.3".parse().unwrap();
        assert_eq!((image.repository(), image.name(), image.tag()), ("skep.dev/kube", "kube", "v1.36.3"));
        let image: ImageRef = "localhost:5000/a/b:1".parse().unwrap();
        assert_eq!((image.repository(), image.name(), image.tag()), ("localhost:5000/a/b", "b", "1"));
    }

    #[test]
    fn refusals() {
        for bad in [
            "",
            ":",
            "kube",
            "skep.dev/kube",
            "localhost:5000/kube",
            "skep.dev/kube:",
            ":v1",
            "skep.dev/../etc:v1",
            "skep.dev/kube:..",
            "skep.dev/kube:-v",
            "skep.dev//kube:v1",
            "skep.dev/Kube:v1",
            "skep.dev/kube@sha256:00",
            "skep.dev/kube:v1/..",
            "skep.dev/ku be:v1",
            "skep.dev/kube:v1\n",
        ] {
            assert!(bad.parse::<ImageRef>().is_err(), "{bad:?} was taken");
        }
    }

    proptest! {
        #[test]
        fn what_is_taken_is_printed_back_and_is_safe_as_a_path(text in "\\PC{0,40}|[a-z./:@-]{0,20}") {
            if let Ok(image) = text.parse::<ImageRef>() {
                prop_assert_eq!(image.to_string(), text);
                for part in [image.name(), image.tag()] {
                    prop_assert!(!part.is_empty() && part != "." && part != ".." && !part.contains(['/', '\0']));
                }
            }
        }
    }
}
