//! Where things are in the data directory, and whether the directory may be used.
//!
//! Guarantees: the directory is the caller's own, mode 0700, and either new, empty or written by Skep. Refuses
//! directories of other users (files made by one user are of no use to the other) and directories with foreign files.

use std::{
    env,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use nix::unistd::{User, geteuid};

use crate::{Error, Result};

/// The data directory of an installation. Cheap to clone; paths only, no open files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

impl Layout {
    /// The directory that was asked for, else `SKEP_DATA_DIR`, `$XDG_DATA_HOME/skep`, `~/.local/share/skep`.
    ///
    /// # Errors
    /// [`Error::NoDataDir`] when none of them is known.
    pub fn resolve(asked: Option<&Path>) -> Result<Self> {
        let from_env = |name: &str| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = asked
            .map(Path::to_owned)
            .or_else(|| from_env("SKEP_DATA_DIR"))
            .or_else(|| from_env("XDG_DATA_HOME").filter(|dir| dir.is_absolute()).map(|dir| dir.join("skep")))
            .or_else(|| from_env("HOME").or_else(home).map(|dir| dir.join(".local/share/skep")))
            .ok_or(Error::NoDataDir)?;
        let root = std::path::absolute(&root).map_err(|source| Error::io(&root, source))?;
        Ok(Self { root })
    }

    /// Makes the directory or checks that an existing one may be used.
    ///
    /// # Errors
    /// [`Error::WrongOwner`], [`Error::NotADataDir`], [`Error::DiskFull`], [`Error::DataDir`].
    pub fn prepare(&self) -> Result<()> {
        self.create(&self.root)?;
        self.check_owner()?;
        let entries = fs::read_dir(&self.root).map_err(|source| Error::io(&self.root, source))?;
        let ours = self.state().exists();
        let foreign = entries.flatten().map(|entry| entry.file_name()).find(|name| {
            // What a start leaves that was interrupted before its first record.
            !["lock", "logs", "run"].iter().any(|known| name == *known)
                && !name.to_string_lossy().starts_with(".state.json.")
        });
        if !ours && foreign.is_some() {
            return Err(Error::NotADataDir { path: self.root.clone() });
        }
        fs::set_permissions(&self.root, fs::Permissions::from_mode(0o700))
            .map_err(|source| Error::io(&self.root, source))?;
        self.create(&self.logs())?;
        self.create(&self.run())
    }

    /// Makes the directories that only a supervisor fills, once there is a record that they are Skep's.
    ///
    /// # Errors
    /// As [`prepare`](Self::prepare).
    pub fn prepare_inside(&self) -> Result<()> {
        [self.pki(), self.config()].iter().try_for_each(|dir| self.create(dir))
    }

    /// Whether an installation was ever started here.
    pub fn exists(&self) -> bool {
        self.state().exists()
    }

    fn create(&self, dir: &Path) -> Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(|source| Error::io(dir, source))
    }

    fn check_owner(&self) -> Result<()> {
        let metadata = fs::metadata(&self.root).map_err(|source| Error::io(&self.root, source))?;
        let user = geteuid().as_raw();
        if !metadata.is_dir() {
            return Err(Error::io(&self.root, io::ErrorKind::NotADirectory.into()));
        }
        if metadata.uid() != user {
            return Err(Error::WrongOwner { path: self.root.clone(), owner: metadata.uid(), user });
        }
        Ok(())
    }

    /// The directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Held with `flock` by the supervisor for as long as it lives.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Format, network, ports and process ids.
    pub fn state(&self) -> PathBuf {
        self.root.join("state.json")
    }

    /// Runtime files that mean nothing once the supervisor is gone: the control socket.
    pub fn run(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Keys and certificates of the hub.
    pub fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// Generated configuration of the hub's programs.
    pub fn config(&self) -> PathBuf {
        self.root.join("config")
    }

    /// etcd of the hub.
    pub fn etcd(&self) -> PathBuf {
        self.root.join("etcd")
    }

    /// Kubeconfig of the hub's administrator.
    pub fn kubeconfig(&self) -> PathBuf {
        self.root.join("kubeconfig")
    }

    /// Log files.
    pub fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    /// Log of one component.
    pub fn log(&self, component: &str) -> PathBuf {
        self.logs().join(format!("{component}.log"))
    }

    /// Real nodes of tenants on this host, with a network and a lock of their own.
    pub fn machines(&self) -> PathBuf {
        self.root.join("local")
    }

    /// Container images for local machines.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Records of hollow machines.
    pub fn hollow(&self) -> PathBuf {
        self.root.join("hollow")
    }

    /// How hollow nodes behave, if somebody has said so.
    pub fn hollow_config(&self) -> PathBuf {
        self.root.join("hollow.yaml")
    }

    /// State of one virtual node.
    pub fn node(&self, node: &str) -> PathBuf {
        self.root.join("nodes").join(node)
    }

    /// Volumes of claims.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }
}

/// The home directory in the user database: `HOME` is not set for services.
fn home() -> Option<PathBuf> {
    User::from_uid(geteuid()).ok().flatten().map(|user| user.dir).filter(|dir| dir.is_dir())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(dir: &Path) -> Layout {
        Layout::resolve(Some(dir)).unwrap()
    }

    #[test]
    fn a_new_directory_is_made_private_and_an_interrupted_start_can_be_repeated() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(&dir.path().join("a/b"));
        layout.prepare().unwrap();
        assert_eq!(fs::metadata(layout.root()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(layout.lock(), "").unwrap();
        layout.prepare().unwrap();
        assert!(!layout.exists());
    }

    #[test]
    fn foreign_files_are_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("thesis.txt"), "").unwrap();
        let mode = fs::metadata(dir.path()).unwrap().permissions().mode();
        let error = layout(dir.path()).prepare().unwrap_err();
        assert_eq!(error.code().to_string(), "SKEP-2003");
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode(), mode);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_in_the_place_of_the_directory_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = layout(&file).prepare().unwrap_err();
        assert_eq!(error.code().to_string(), "SKEP-2001", "{error}");
    }
}
