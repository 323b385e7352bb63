//! Where a pod's things are.
//! ```text
//! <data>/pods/<uid>/pod.json                            the pod as last given
//!                  /volumes/<volume>
//!                  /containers/<name>/<attempt>.json    record of one run
//!                                    /<attempt>.message termination message
//!                                    /work, /tmp        made anew for each run
//!                  /logs/<name>/<attempt>.log           CRI format
//!                  /raw/<name>.<attempt>.out, .err      see `log`
//! ```

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::backend::PodUid;
use crate::process::log::LogPaths;

/// Nobody but us enters.
const PRIVATE: u32 = 0o700;

/// The directory of one pod.
#[derive(Clone, Debug)]
pub(in super::super) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(in super::super) fn new(data_dir: &Path, uid: &PodUid) -> Self {
        Self { root: pods(data_dir).join(uid.as_str()) }
    }

    pub(in super::super) fn root(&self) -> &Path {
        &self.root
    }

    pub(in super::super) fn pod(&self) -> PathBuf {
        self.root.join("pod.json")
    }

    pub(in super::super) fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    pub(in super::super) fn container(&self, name: &str) -> PathBuf {
        self.root.join("containers").join(name)
    }

    pub(in super::super) fn record(&self, name: &str, attempt: u32) -> PathBuf {
        self.container(name).join(format!("{attempt}.json"))
    }

    pub(in super::super) fn message(&self, name: &str, attempt: u32) -> PathBuf {
        self.container(name).join(format!("{attempt}.message"))
    }

    pub(in super::super) fn logs(&self, name: &str, attempt: u32) -> LogPaths {
        LogPaths {
            log: self.root.join("logs").join(name).join(format!("{attempt}.log")),
            raw: self.root.join("raw"),
            stem: format!("{name}.{attempt}"),
        }
    }

    /// Makes the directory of the pod. Returns whether it is new.
    pub(in super::super) fn create(&self) -> io::Result<bool> {
        private(self.root.parent().unwrap_or(&self.root))?;
        let new = !self.root.exists();
        private(&self.root)?;
        private(&self.volumes())?;
        Ok(new)
    }

    /// Makes fresh directories for a run of a container: `(working directory, temporary files)`.
    pub(in super::super) fn fresh(&self, name: &str) -> io::Result<(PathBuf, PathBuf)> {
        let (work, temporary) = (self.container(name).join("work"), self.container(name).join("tmp"));
        for directory in [&work, &temporary] {
            match std::fs::remove_dir_all(directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => private(directory)?,
            }
        }
        Ok((work, temporary))
    }

    /// Deletes what is left of a run that nobody asks about any more.
    pub(in super::super) fn forget(&self, name: &str, attempt: u32) {
        let _ = std::fs::remove_file(self.record(name, attempt));
        let _ = std::fs::remove_file(self.message(name, attempt));
        self.logs(name, attempt).remove();
    }
}

/// The directory of all pods.
pub(in super::super) fn pods(data_dir: &Path) -> PathBuf {
    data_dir.join("pods")
}

/// Makes a directory that nobody else may enter.
pub(in super::super) fn private(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(PRIVATE).create(path)
}
