//! Log files: opening, bounding, reading the end, following.

pub mod follow;

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

pub use skep_agent::logs::{keep_bounded, tail, tail_text};

use crate::{Error, Result};

/// Opens a log for appending, readable for its owner only.
///
/// # Errors
/// [`Error::DataDir`] or [`Error::DiskFull`].
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::io(path, source))
}

#[cfg(test)]
mod tests;
