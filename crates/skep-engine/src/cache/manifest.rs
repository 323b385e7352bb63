//! `manifest.json`: what an entry is made of, where it came from, and how to see that it is still that.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::digest;
use crate::engine::Source;
use crate::error::{Error, Result};
use crate::recipe::Recipe;

/// Raised when older manifests can no longer be understood; their entries are then made again.
const FORMAT: u32 = 1;
const FILE: &str = "manifest.json";

/// The content of `manifest.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    pub format: u32,
    pub image: String,
    pub source: Source,
    /// A release's URL, or the Go version that built it.
    pub origin: String,
    /// [`Recipe::digest`] of what was built. A release does not depend on it.
    pub recipe: String,
    pub files: BTreeMap<String, FileRecord>,
    /// Name → file beside it.
    pub links: BTreeMap<String, String>,
}

/// One file: its digest, and what its inode looked like when the digest was true.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    pub sha256: String,
    size: u64,
    /// Times in nanoseconds since 1970. Whoever changes a file and sets its mtime back still moves its ctime.
    mtime: i128,
    ctime: i128,
}

impl FileRecord {
    /// Reads the file. Blocks.
    pub(crate) fn of(path: &Path) -> std::io::Result<Self> {
        Self::of_known(path, digest::of_file(path)?)
    }

    fn of_known(path: &Path, sha256: String) -> std::io::Result<Self> {
        let meta = fs::metadata(path)?;
        let nanos = |seconds: i64, nanos: i64| i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        Ok(Self {
            sha256,
            size: meta.size(),
            mtime: nanos(meta.mtime(), meta.mtime_nsec()),
            ctime: nanos(meta.ctime(), meta.ctime_nsec()),
        })
    }
}

impl Manifest {
    pub(crate) fn new(recipe: &Recipe, source: Source, origin: String) -> Self {
        Self {
            format: FORMAT,
            image: recipe.image.to_string(),
            source,
            origin,
            recipe: recipe.digest(),
            files: BTreeMap::new(),
            links: BTreeMap::new(),
        }
    }

    /// The manifest of an entry, or why there is none that can be used.
    pub(crate) fn read(entry: &Path) -> Result<Self, String> {
        let bytes = fs::read(entry.join(FILE)).map_err(|e| format!("its {FILE} cannot be read: {e}"))?;
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|e| format!("its {FILE} is not understood: {e}"))?;
        if manifest.format != FORMAT {
            return Err(format!("its {FILE} has format {}, this version knows {FORMAT}", manifest.format));
        }
        Ok(manifest)
    }

    /// Writes `manifest.json` in one step.
    pub(crate) fn write(&self, entry: &Path) -> Result<()> {
        let path = entry.join(FILE);
        let mut text = serde_json::to_vec_pretty(self).map_err(|e| Error::Cache {
            doing: "write",
            path: path.clone(),
            source: e.into(),
        })?;
        text.push(b'\n');
        let mut temporary =
            tempfile::NamedTempFile::new_in(entry).map_err(Error::io("write in", entry, 1 << 20))?;
        temporary.write_all(&text).and_then(|()| temporary.as_file().sync_all()).map_err(Error::io(
            "write",
            &path,
            1 << 20,
        ))?;
        temporary.persist(&path).map_err(|e| Error::io("write", &path, 1 << 20)(e.error))?;
        Ok(())
    }

    /// Why this entry is not what the recipe asks for, if it is not.
    pub(crate) fn refusal(&self, recipe: &Recipe) -> Option<String> {
        if self.image != recipe.image.to_string() {
            return Some(format!("it says that it is {}", self.image));
        }
        (self.source == Source::Built && self.recipe != recipe.digest())
            .then(|| "it was built from other sources".to_owned())
    }

    /// Compares without reading files. `Ok(false)`: a file's size or times differ. `Err`: something is missing.
    pub(crate) fn compare(&self, bin: &Path, programs: &[String]) -> Result<bool, String> {
        if let Some(unknown) =
            programs.iter().find(|p| !self.files.contains_key(*p) && !self.links.contains_key(*p))
        {
            return Err(format!("{unknown} is not in it"));
        }
        for (link, file) in &self.links {
            let target = fs::read_link(bin.join(link)).map_err(|e| format!("{link} is gone: {e}"))?;
            if target != Path::new(file) || !self.files.contains_key(file) {
                return Err(format!("{link} leads to {}", target.display()));
            }
        }
        let mut same = true;
        for (name, record) in &self.files {
            let found = FileRecord::of_known(&bin.join(name), record.sha256.clone())
                .map_err(|e| format!("{name} is gone: {e}"))?;
            if found.size != record.size {
                return Err(format!("{name} has {} bytes instead of {}", found.size, record.size));
            }
            same &= found == *record;
        }
        Ok(same)
    }

    /// Reads every file and compares digests; remembers the times of those that are right.
    pub(crate) fn verify(&mut self, bin: &Path) -> Result<(), String> {
        for (name, record) in &mut self.files {
            let found = FileRecord::of(&bin.join(name)).map_err(|e| format!("{name} cannot be read: {e}"))?;
            if found.sha256 != record.sha256 {
                return Err(format!(
                    "{name} has changed: sha256 {} instead of {}",
                    found.sha256, record.sha256
                ));
            }
            *record = found;
        }
        Ok(())
    }
}
