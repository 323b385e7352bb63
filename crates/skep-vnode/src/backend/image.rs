//! Where programs come from: an image is a name that something resolves to directories of programs on this machine.

use std::path::PathBuf;

use async_trait::async_trait;

/// What an image name stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageRoot {
    /// What `status.containerStatuses[].imageID` says, like `skep.dev/kube@sha256:…`.
    pub id: String,
    /// Directories that programs are looked up in, in order, before the host's own.
    pub bin_dirs: Vec<PathBuf>,
    /// Program and first arguments when the container names no `command`.
    pub entrypoint: Vec<String>,
    /// Arguments when the container names neither `command` nor `args`.
    pub args: Vec<String>,
    /// Environment below the container's own.
    pub env: Vec<(String, String)>,
    /// Whether programs of the host (`/bin/sh`) may be run as well, by absolute path or through the host's own
    /// directories in `PATH`.
    pub host_programs: bool,
}

/// Why an image cannot be used. Becomes `ErrImagePull` and `ImagePullBackOff`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The text is no image name. Becomes `InvalidImageName`.
    #[error("{image:?} is not an image name: {reason}")]
    Invalid {
        /// What was given.
        image: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Nobody knows this image.
    #[error("SKEP-7101: image {image:?} is not known here; known: {}", list(.known))]
    Unknown {
        /// What was asked for.
        image: String,
        /// What exists.
        known: Vec<String>,
    },
    /// The image is known but could not be made available.
    #[error("image {image:?} is not available: {reason}")]
    Unavailable {
        /// What was asked for.
        image: String,
        /// Why, and what to do.
        reason: String,
    },
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".into() } else { known.join(", ") }
}

/// Resolves image names. May take minutes (a build); must have its own bound.
#[async_trait]
pub trait ImageSource: Send + Sync + 'static {
    /// The programs behind this name.
    async fn resolve(&self, image: &str) -> Result<ImageRoot, ImageError>;
}
