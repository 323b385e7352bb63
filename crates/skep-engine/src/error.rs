//! Every way the engine can fail, in words for the person who has to do something about it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use skep_api::codes::Code;

use crate::image::ImageRef;

/// The engine's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image could not be had. [`Error::code`] names the page that explains it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The name cannot be an image name.
    #[error("`{given}` is not an image name: {why}. Write it like skep.dev/kube:v1.36.3")]
    InvalidImage {
        /// What was given, cut to a sane length.
        given: String,
        /// Which rule it breaks.
        why: &'static str,
    },

    /// A well-formed name that nothing here can provide.
    #[error("image {image} is not known. Known: {}", known.join(", "))]
    UnknownImage {
        /// The image asked for.
        image: ImageRef,
        /// Images that can be had.
        known: Vec<String>,
    },

    /// `go` is needed and not there.
    #[error(
        "cannot build {image}: Go is not installed (looked for {looked_for}). Install Go {needed} or newer (package \
         `golang-go`, or go.dev/dl), or name a directory that has the programs in SKEP_ENGINE_PATH.{release}"
    )]
    GoMissing {
        /// The image asked for.
        image: ImageRef,
        /// Where `go` was looked for.
        looked_for: String,
        /// The oldest version that can build it.
        needed: String,
        /// Why the official release was not used: empty or a sentence that starts with a space.
        release: String,
    },

    /// `go` is there but cannot build this.
    #[error(
        "cannot build {image}: {go} is Go {found}, and Go {needed} or newer is needed{why}. Install a newer Go (go.dev/dl) \
         and put it first in PATH, or set SKEP_GO to it"
    )]
    GoTooOld {
        /// The image asked for.
        image: ImageRef,
        /// The program that was asked.
        go: PathBuf,
        /// The version it reports.
        found: String,
        /// The oldest version that can build it.
        needed: String,
        /// Why Go's own toolchain download does not help: empty or a clause that starts with `, `.
        why: String,
    },

    /// The build ran and failed.
    #[error("the build of {image} failed ({status}). The whole log: {}\n{tail}", log.display())]
    BuildFailed {
        /// The image asked for.
        image: ImageRef,
        /// How `go` ended.
        status: String,
        /// The file with everything it said.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },

    /// The build took longer than [`crate::Limits::build`].
    #[error("the build of {image} was stopped after {} minutes. The whole log: {}", limit.as_secs() / 60, log.display())]
    BuildTimeout {
        /// The image asked for.
        image: ImageRef,
        /// The limit.
        limit: Duration,
        /// The file with everything it said.
        log: PathBuf,
    },

    /// The build needs Go modules that cannot be fetched.
    #[error(
        "cannot build {image}: Go could not fetch its modules. Check the network, or set GOPROXY to a module proxy you can \
         reach. The whole log: {}\n{tail}",
        log.display()
    )]
    ModulesUnreachable {
        /// The image asked for.
        image: ImageRef,
        /// The file with everything it said.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },

    /// A download is not what its publisher says it is.
    #[error(
        "{url} does not match its published digest: sha256 should be {expected}, is {found}. It was thrown away. If this \
         repeats, somebody changes the download; SKEP_ENGINE_RELEASES=off builds from source instead"
    )]
    DigestMismatch {
        /// What was fetched.
        url: String,
        /// The published digest, hex.
        expected: String,
        /// The digest of what came, hex.
        found: String,
    },

    /// A setting that cannot be used.
    #[error("{setting} cannot be used: {why}")]
    InvalidConfig {
        /// The variable or field.
        setting: &'static str,
        /// What is wrong and what is allowed.
        why: String,
    },

    /// No space for the programs.
    #[error(
        "no space left for {}: free at least {} MiB there, or set SKEP_ENGINE_CACHE to another directory",
        path.display(),
        need_bytes.div_ceil(1 << 20)
    )]
    DiskFull {
        /// The directory or file that was written.
        path: PathBuf,
        /// How much the whole thing needs, bytes.
        need_bytes: u64,
    },

    /// The cache cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    Cache {
        /// A verb: `write`, `lock` …
        doing: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },

    /// The programs are there but do not do what they must.
    #[error("{} does not run here as {expected}: {why}", program.display())]
    NotRunnable {
        /// The program that was tried.
        program: PathBuf,
        /// The version it should report.
        expected: String,
        /// What it did instead.
        why: String,
    },

    /// Another process has been making the same thing for too long.
    #[error(
        "waited {} minutes for {holder} to finish {image}. Stop it if it hangs, then try again",
        waited.as_secs() / 60
    )]
    LockTimeout {
        /// The image asked for.
        image: ImageRef,
        /// Who holds the lock.
        holder: String,
        /// How long this process waited.
        waited: Duration,
    },

    /// An archive of container images cannot be taken in.
    #[error("{} is no archive of images that can be loaded: {why}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl Error {
    /// The code of the page under `docs/errors/`.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::UnknownImage { .. } => 1001,
            Self::GoMissing { .. } => 1002,
            Self::GoTooOld { .. } => 1003,
            Self::BuildFailed { .. } => 1004,
            Self::ModulesUnreachable { .. } => 1005,
            Self::DigestMismatch { .. } => 1006,
            Self::InvalidConfig { .. } => 1007,
            Self::DiskFull { .. } => 1008,
            Self::Cache { .. } => 1009,
            Self::NotRunnable { .. } => 1010,
            Self::InvalidImage { .. } => 1011,
            Self::BuildTimeout { .. } => 1012,
            Self::LockTimeout { .. } => 1013,
            Self::Archive { .. } => 1014,
        })
    }

    /// An I/O error on a file of the cache; a full disk becomes [`Error::DiskFull`].
    pub(crate) fn io(
        doing: &'static str,
        path: &Path,
        need_bytes: u64,
    ) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path, need_bytes },
            _ => Self::Cache { doing, path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for number in 1001..=1014 {
            let page = std::fs::read_to_string(docs.join(format!("SKEP-{number}.md"))).unwrap();
            assert!(page.starts_with(&format!("# SKEP-{number}: ")), "{page}");
        }
        assert!(!docs.join("SKEP-1015.md").exists(), "a page for no error");
    }

    #[test]
    fn a_full_disk_is_not_just_an_io_error() {
        let full = Error::io("write", Path::new("/x"), 3 << 20)(io::Error::from_raw_os_error(28));
        assert_eq!(full.code().to_string(), "SKEP-1008");
        assert!(full.to_string().contains("free at least 3 MiB"), "{full}");
        let quota = Error::io("write", Path::new("/x"), 1)(io::Error::from_raw_os_error(122));
        assert!(matches!(quota, Error::DiskFull { need_bytes: 1, .. }));
        let other = Error::io("write", Path::new("/x"), 1)(io::Error::from_raw_os_error(13));
        assert_eq!(other.code().to_string(), "SKEP-1009");
    }
}
