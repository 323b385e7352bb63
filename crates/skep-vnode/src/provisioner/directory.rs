//! The directories behind volumes.
//!
//! ```text
//! <root>/pvc-<uid>/volume.json   whose it is
//! <root>/pvc-<uid>/made          the volume exists, or has existed, in the API
//! <root>/pvc-<uid>/data/         what the pod sees
//! <root>/.deleting-pvc-<uid>/    on its way out
//! ```

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const MARKER: &str = "volume.json";
const DATA: &str = "data";
const MADE: &str = "made";
const DELETING: &str = ".deleting-";
const PREFIX: &str = "pvc-";

/// Whose a directory is; written before the volume exists in the API.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Uid of the cluster's `kube-system` namespace.
    pub cluster: String,
    /// Node the volume belongs to.
    pub node: String,
    /// Namespace of the claim.
    pub namespace: String,
    /// Name of the claim.
    pub claim: String,
    /// Uid of the claim.
    pub uid: String,
}

/// Why something could not be done with a directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The name is not one this provisioner gives.
    #[error("{0:?} is not the name of a local volume")]
    Name(String),
    /// Something else is in its place.
    #[error("{0} is not a directory of this provisioner: it will not be touched")]
    Foreign(PathBuf),
    /// The machine refused.
    #[error("{doing} {path}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// All directories below one root.
#[derive(Debug, Clone)]
pub struct Directories {
    root: PathBuf,
}

impl Directories {
    /// Below `root`, which is made when the first volume is.
    #[must_use]
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// Name of the volume of a claim with this uid.
    ///
    /// # Errors
    /// [`DirectoryError::Name`] for a uid that is not safe as a file name.
    pub fn name_for(uid: &str) -> Result<String, DirectoryError> {
        let name = format!("{PREFIX}{uid}");
        check(&name).map(|()| name)
    }

    /// What the pod sees of volume `name`.
    ///
    /// # Errors
    /// [`DirectoryError::Name`].
    pub fn data(&self, name: &str) -> Result<PathBuf, DirectoryError> {
        check(name)?;
        Ok(self.root.join(name).join(DATA))
    }

    /// Makes the directory; fine when it is there already for the same claim.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn make(&self, name: &str, marker: &Marker) -> Result<PathBuf, DirectoryError> {
        check(name)?;
        let dir = self.root.join(name);
        match self.marker(name)? {
            Some(known) if known != *marker => return Err(DirectoryError::Foreign(dir)),
            Some(_) => {}
            None => {
                std::fs::create_dir_all(&dir).map_err(|source| io_error("creating", &dir, source))?;
                let path = dir.join(MARKER);
                let text = serde_json::to_vec_pretty(marker)
                    .map_err(|error| io_error("writing", &path, error.into()))?;
                // Whole or not at all: half a marker would make the directory nobody's.
                let new = dir.join(format!("{MARKER}.new"));
                std::fs::write(&new, text).map_err(|source| io_error("writing", &new, source))?;
                std::fs::rename(&new, &path).map_err(|source| io_error("writing", &path, source))?;
            }
        }
        let data = dir.join(DATA);
        match std::fs::create_dir(&data) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                Err(io_error("creating", &data, error))
            }
            _ => Ok(data),
        }
    }

    /// Notes that the volume exists in the API. From then on only its reclaim policy decides about the data.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn note_made(&self, name: &str) -> Result<(), DirectoryError> {
        check(name)?;
        let path = self.root.join(name).join(MADE);
        if path.exists() || !self.root.join(name).is_dir() {
            return Ok(());
        }
        std::fs::write(&path, b"").map_err(|source| io_error("writing", &path, source))
    }

    /// Whether the volume was ever noted as made.
    ///
    /// # Errors
    /// [`DirectoryError::Name`].
    pub fn was_made(&self, name: &str) -> Result<bool, DirectoryError> {
        check(name)?;
        Ok(self.root.join(name).join(MADE).exists())
    }

    /// Deletes the directory with everything in it; fine when it is gone. Follows no symbolic link.
    ///
    /// # Errors
    /// [`DirectoryError`]; what is left is deleted by the next call or the next start.
    pub fn remove(&self, name: &str, cluster: &str) -> Result<(), DirectoryError> {
        check(name)?;
        let dir = self.root.join(name);
        match std::fs::symlink_metadata(&dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io_error("reading", &dir, error)),
            Ok(metadata) if !metadata.is_dir() => return Err(DirectoryError::Foreign(dir)),
            Ok(_) => {
                if self.marker(name)?.is_some_and(|marker| marker.cluster != cluster) {
                    return Err(DirectoryError::Foreign(dir));
                }
                // Out of sight in one step, so that a half-deleted volume is never mounted.
                let target = self.root.join(format!("{DELETING}{name}"));
                std::fs::rename(&dir, &target).map_err(|source| io_error("deleting", &dir, source))?;
            }
        }
        self.finish_removal(name)
    }

    /// Names of all volumes here with their markers, and removals that were interrupted (finished on the way).
    ///
    /// # Errors
    /// When the root cannot be read.
    pub fn scan(&self) -> Result<Vec<(String, Marker)>, DirectoryError> {
        let entries = match std::fs::read_dir(&self.root) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| io_error("reading", &self.root, source))?,
        };
        let mut found = Vec::new();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            if let Some(interrupted) = name.strip_prefix(DELETING) {
                if check(interrupted).is_ok()
                    && let Err(error) = self.finish_removal(interrupted)
                {
                    tracing::warn!(%error, "a deleted volume is still there");
                }
            } else if check(&name).is_ok()
                && let Ok(Some(marker)) = self.marker(&name)
            {
                found.push((name, marker));
            }
        }
        Ok(found)
    }

    fn finish_removal(&self, name: &str) -> Result<(), DirectoryError> {
        let target = self.root.join(format!("{DELETING}{name}"));
        match std::fs::remove_dir_all(&target) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(io_error("deleting", &target, error))
            }
            _ => Ok(()),
        }
    }

    fn marker(&self, name: &str) -> Result<Option<Marker>, DirectoryError> {
        let path = self.root.join(name).join(MARKER);
        match std::fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io_error("reading", &path, error)),
            Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|_| DirectoryError::Foreign(path)),
        }
    }
}

fn io_error(doing: &'static str, path: &Path, source: io::Error) -> DirectoryError {
    DirectoryError::Io { doing, path: path.to_owned(), source }
}

/// `pvc-` and a uid of letters, digits and dashes: never a way out of the root.
fn check(name: &str) -> Result<(), DirectoryError> {
    let uid = name.strip_prefix(PREFIX).unwrap_or_default();
    let fits =
        (1..=64).contains(&uid.len()) && uid.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    if fits { Ok(()) } else { Err(DirectoryError::Name(name.chars().take(80).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(uid: &str) -> Marker {
        Marker {
            cluster: "cluster-1".into(),
            node: "skep-a".into(),
            namespace: "n".into(),
            claim: "c".into(),
            uid: uid.into(),
        }
    }

    fn directories() -> (tempfile::TempDir, Directories) {
        let dir = tempfile::tempdir().unwrap();
        let directories = Directories::new(dir.path().join("volumes"));
        (dir, directories)
    }

    #[test]
    fn made_once_kept_and_removed() {
        let (_dir, directories) = directories();
        let name = Directories::name_for("1-2").unwrap();
        let data = directories.make(&name, &marker("1-2")).unwrap();
        std::fs::write(data.join("file"), "x").unwrap();
        assert_eq!(directories.make(&name, &marker("1-2")).unwrap(), data);
        assert!(data.join("file").exists());
        assert_eq!(directories.scan().unwrap(), [(name.clone(), marker("1-2"))]);
        assert!(!directories.was_made(&name).unwrap());
        directories.note_made(&name).unwrap();
        assert!(directories.was_made(&name).unwrap());
        directories.remove(&name, "cluster-1").unwrap();
        directories.remove(&name, "cluster-1").unwrap();
        assert!(directories.scan().unwrap().is_empty() && !data.exists());
    }

    #[test]
    fn an_interrupted_removal_is_finished() {
        let (_dir, directories) = directories();
        let half = directories.root.join(".deleting-pvc-9/data");
        std::fs::create_dir_all(&half).unwrap();
        assert!(directories.scan().unwrap().is_empty());
        assert!(!half.exists());
    }

    #[test]
    fn an_interrupted_creation_is_repeated() {
        let (_dir, directories) = directories();
        std::fs::create_dir_all(directories.root.join("pvc-1")).unwrap();
        std::fs::write(directories.root.join("pvc-1/volume.json.new"), "{").unwrap();
        assert!(directories.make("pvc-1", &marker("1")).unwrap().is_dir());
        assert_eq!(directories.scan().unwrap().len(), 1);
    }

    #[test]
    fn what_belongs_to_others_is_not_touched() {
        let (dir, directories) = directories();
        let data = directories.make("pvc-1", &marker("1")).unwrap();
        assert!(matches!(directories.remove("pvc-1", "cluster-2"), Err(DirectoryError::Foreign(_))));
        assert!(matches!(directories.make("pvc-1", &marker("other")), Err(DirectoryError::Foreign(_))));
        let precious = dir.path().join("precious");
        std::fs::create_dir(&precious).unwrap();
        std::os::unix::fs::symlink(&precious, directories.root.join("pvc-2")).unwrap();
        assert!(matches!(directories.remove("pvc-2", "cluster-1"), Err(DirectoryError::Foreign(_))));
        std::os::unix::fs::symlink(&precious, data.join("link")).unwrap();
        directories.remove("pvc-1", "cluster-1").unwrap();
        assert!(precious.is_dir());
    }

    #[test]
    fn names_cannot_leave_the_root() {
        let (_dir, directories) = directories();
        for name in ["", "pvc-", "pvc-../x", "pvc-a/b", "..", "volume", "pvc-a\0", "pvc-.."] {
            assert!(matches!(directories.remove(name, "c"), Err(DirectoryError::Name(_))), "{name:?}");
        }
        assert!(Directories::name_for("../../etc").is_err());
    }
}
