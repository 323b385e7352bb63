//! What containers print.
//!
//! A container writes to two plain files, opened for appending, one per output. Nothing of ours is at the other end:
//! when the virtual node is away the container neither waits nor gets SIGPIPE, and whatever it prints is there when
//! the node comes back. That is why there is no pipe. A pipe that the container itself keeps open would not break
//! either, but it fills up and then the container stands still.
//!
//! The node copies from these raw files into the log proper, in the format of the Container Runtime Interface, with
//! time and stream before each line. One inotify descriptor per node says what has grown; nothing is polled and an
//! idle container costs nothing. What has been copied is given back to the file system at once (holes are punched
//! into the raw file), so a container that prints for years takes no more than the bounds below.
//!
//! How far copying has come is written beside the raw files after every step. When the node is killed between copying
//! and writing that down, the next run cuts the log back to the last known length and copies again: no line is lost
//! and none is there twice.
//!
//! Limits. Order between the two outputs is kept only as far as the copying sees it (as with two pipes). A program that
//! opens `/dev/stdout` anew without appending overwrites from the beginning; the copy starts over then. On a file
//! system without hole punching the raw file grows until the container ends. A container that prints faster than can
//! be copied loses what rotation would have deleted anyway, and the log says so.

mod capture;
mod cri;
mod files;
mod position;
mod pump;
mod read;

use std::path::{Path, PathBuf};

pub use pump::{Capture, LogPump};
pub use read::{Ended, open as read, tail};

/// How much of a container's log is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogPolicy {
    /// Bytes after which a new file is begun (`containerLogMaxSize` of the kubelet).
    pub file_size: u64,
    /// How many files there are at most, the present one included (`containerLogMaxFiles`).
    pub files: usize,
}

impl Default for LogPolicy {
    /// The kubelet's defaults: 5 files of 10 MiB.
    fn default() -> Self {
        Self { file_size: 10 << 20, files: 5 }
    }
}

impl LogPolicy {
    fn total(self) -> u64 {
        self.file_size.saturating_mul(self.files as u64)
    }
}

/// Where the log of one run of a container is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogPaths {
    /// The log proper; older parts end in `.1`, `.2` …, the newest of them first.
    pub log: PathBuf,
    /// Directory of the raw files; may be shared.
    pub raw: PathBuf,
    /// First part of the names of the raw files.
    pub stem: String,
}

impl LogPaths {
    /// File for standard output.
    pub fn stdout(&self) -> PathBuf {
        self.raw.join(self.name(0))
    }

    /// File for standard error.
    pub fn stderr(&self) -> PathBuf {
        self.raw.join(self.name(1))
    }

    fn name(&self, stream: usize) -> String {
        format!("{}.{}", self.stem, if stream == 0 { "out" } else { "err" })
    }

    fn position(&self) -> PathBuf {
        self.raw.join(format!("{}.pos", self.stem))
    }

    /// Deletes everything of it.
    pub fn remove(&self) {
        let chain = files::chain(&self.log);
        for path in
            chain.iter().map(PathBuf::as_path).chain([&*self.stdout(), &*self.stderr(), &*self.position()])
        {
            remove(path);
        }
    }
}

fn remove(path: &Path) {
    if let Err(error) = std::fs::remove_file(path)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::debug!(path = %path.display(), %error, "cannot delete a log file");
    }
}

#[cfg(test)]
mod tests;
