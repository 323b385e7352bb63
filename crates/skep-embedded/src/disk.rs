//! Free space of the file system that holds the data.

use std::path::Path;

use nix::sys::statvfs::statvfs;

use crate::{Error, Result};

/// Below this nothing is started: etcd alone preallocates a write-ahead log of 64 MiB and keeps a second one.
pub const NEEDED_MIB: u64 = 256;

/// Free space for ordinary users on the file system of `path`, in MiB; of its nearest existing parent.
pub fn free_mib(path: &Path) -> Option<u64> {
    path.ancestors().find_map(|dir| statvfs(dir).ok()).map(|fs| {
        let bytes = u128::from(fs.blocks_available()) * u128::from(fs.fragment_size());
        u64::try_from(bytes >> 20).unwrap_or(u64::MAX)
    })
}

/// Refuses to go on when the disk is nearly full: stopping now loses nothing, running out later stops etcd.
pub fn check(path: &Path) -> Result<()> {
    match free_mib(path) {
        Some(free_mib) if free_mib < NEEDED_MIB => Err(Error::DiskFull { path: path.to_owned(), free_mib }),
        _ => Ok(()),
    }
}
