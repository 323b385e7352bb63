//! Official releases: where their files are, and how they become an entry of the cache.
//!
//! Guarantee: a file is used only after its SHA-256 has been compared with the one that its publisher put beside it
//! (`<file>.sha256`, `SHA256SUMS`), fetched from the same place over the same kind of connection.
//! That finds truncated, damaged and half-updated downloads. It does *not* find a publisher (or mirror) who lies about
//! both; against that there is TLS for upstream, and the build from source, whose modules `go.sum` pins.

mod archive;
mod checksum;
mod http;
mod origin;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use ::http::Uri;

pub(crate) use http::Client;
use http::Failure;
pub(crate) use origin::base;

use crate::cache::Staging;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::progress::{Phase, Reporter};

/// A checksum list is a few KiB.
const MAX_CHECKSUMS: u64 = 256 << 10;
/// The largest program or archive that is fetched; the largest today is about 120 MB.
const MAX_FILE: u64 = 1 << 30;

/// The files of one release.
#[derive(Clone, Debug)]
pub(crate) struct Release {
    pub(crate) upstream: Upstream,
    downloads: Vec<Download>,
}

impl Release {
    /// A file for each program: its name, the path of the file and the path of its digest, below the publisher's URL.
    pub(crate) fn programs(
        upstream: Upstream,
        files: impl Iterator<Item = (String, String, String)>,
    ) -> Self {
        let download =
            |(program, path, checksums)| Download { path, checksums, content: Content::Program(program) };
        Self { upstream, downloads: files.map(download).collect() }
    }

    /// One archive for all: its path, the path of its digest, its members and the programs they become.
    pub(crate) fn archive(
        upstream: Upstream,
        path: String,
        checksums: String,
        members: Vec<(String, String)>,
    ) -> Self {
        Self { upstream, downloads: vec![Download { path, checksums, content: Content::TarGz(members) }] }
    }
}

/// Who publishes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Upstream {
    /// `https://dl.k8s.io`
    Kubernetes,
    /// `https://github.com`: everybody else.
    GitHub,
}

#[derive(Clone, Debug)]
struct Download {
    /// Below the base URL.
    path: String,
    /// The file with its digest, below the base URL.
    checksums: String,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    /// The file is this program.
    Program(String),
    /// The file is an archive; its members and the programs they become.
    TarGz(Vec<(String, String)>),
}

impl Download {
    fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// How the attempt ended when it did not fail.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// Every program is in the staging directory; where they came from.
    Fetched(String),
    /// It cannot be had there; why.
    Unavailable { why: String, unreachable: bool },
}

/// Upstream's name of this machine's architecture, when there are releases for it.
pub(crate) fn architecture() -> Option<&'static str> {
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some("amd64"),
        ("linux", "aarch64") => Some("arm64"),
        _ => None,
    }
}

/// Fetches a release into a staging directory.
///
/// # Errors
/// [`Error::DigestMismatch`] when a whole file came twice and was wrong twice; the errors of the disk. Everything else
/// is [`Outcome::Unavailable`], because there is another way to get the programs.
pub(crate) async fn fetch(
    release: &Release,
    base: &Uri,
    limits: &Limits,
    staging: &Staging,
    reporter: &Reporter<'_>,
) -> Result<Outcome> {
    let unavailable = |why: String, unreachable| Ok(Outcome::Unavailable { why, unreachable });
    let client = match Client::new(base, limits.clone()) {
        Ok(client) => client,
        Err(why) => return unavailable(why, false),
    };
    // All digests first: they are small, and a missing one should not be found out after 300 MB.
    let mut digests = Vec::new();
    for download in &release.downloads {
        reporter.phase(Phase::Fetching {
            file: format!("the digest of {}", download.file_name()),
            done: 0,
            total: None,
        });
        let url = origin::below(base, &download.checksums)?;
        match client.text(&url, MAX_CHECKSUMS).await {
            Ok(text) => match checksum::find(&text, download.file_name()) {
                Some(digest) => digests.push(digest),
                None => {
                    return unavailable(format!("{url} has no SHA-256 of {}", download.file_name()), false);
                }
            },
            Err(failure) => return unavailable(failure.to_string(), failure.is_unreachable()),
        }
    }
    for (download, digest) in release.downloads.iter().zip(&digests) {
        match fetch_one(&client, base, download, digest, staging, reporter).await? {
            Ok(file) => place(download, file, staging).await?,
            Err(failure) => return unavailable(failure.to_string(), failure.is_unreachable()),
        }
    }
    Ok(Outcome::Fetched(base.to_string()))
}

/// One file, in at most two attempts: connections do break.
async fn fetch_one(
    client: &Client,
    base: &Uri,
    download: &Download,
    expected: &str,
    staging: &Staging,
    reporter: &Reporter<'_>,
) -> Result<Result<PathBuf, Failure>> {
    let url = origin::below(base, &download.path)?;
    let file = staging.scratch("download");
    let name = download.file_name();
    let report = |done, total| reporter.phase(Phase::Fetching { file: name.to_owned(), done, total });
    let mut last = None;
    for _ in 0..2 {
        match client.file(&url, &file, MAX_FILE, report).await? {
            Ok(found) if found == *expected => return Ok(Ok(file)),
            Ok(found) => {
                let expected = expected.to_owned();
                last = Some(Err(Error::DigestMismatch { url: url.to_string(), expected, found }));
            }
            Err(failure) if failure.is_final() => return Ok(Err(failure)),
            Err(failure) => last = Some(Ok(Err(failure))),
        }
    }
    last.unwrap_or_else(|| Ok(Err(Failure::broken(&url, "nothing came"))))
}

/// Turns a checked file into programs.
async fn place(download: &Download, file: PathBuf, staging: &Staging) -> Result<()> {
    match &download.content {
        Content::Program(program) => {
            let target = staging.bin().join(program);
            fs::set_permissions(&file, fs::Permissions::from_mode(0o755))
                .and_then(|()| fs::rename(&file, &target))
                .map_err(Error::io("write", &target, MAX_FILE))
        }
        Content::TarGz(members) => {
            let (members, bin) = (members.clone(), staging.bin());
            tokio::task::spawn_blocking(move || archive::unpack(&file, &members, &bin))
                .await
                .map_err(|e| Error::Cache { doing: "unpack into", path: staging.bin(), source: e.into() })?
        }
    }
}
