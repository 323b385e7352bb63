//! A directory in which an entry is put together, and its move into place.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use super::manifest::{FileRecord, Manifest};
use crate::error::{Error, Result};
use crate::image::ImageRef;

/// An entry in the making. Dropped without [`Staging::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: tempfile::TempDir,
    tmp: PathBuf,
    prefix: String,
    target: PathBuf,
}

impl Staging {
    pub(super) fn new(tmp: &Path, image: &ImageRef, target: PathBuf) -> Result<Self> {
        // A name never holds a `:`, so the prefix of one image is never that of another (v1.36.3 and v1.36.30).
        let prefix = format!("{}:{}:", image.name(), image.tag());
        remove_leftovers(tmp, &prefix);
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(tmp).map_err(Error::io(
            "create a directory in",
            tmp,
            1 << 20,
        ))?;
        let bin = dir.path().join("bin");
        fs::create_dir(&bin).map_err(Error::io("create", &bin, 1 << 20))?;
        for made in [dir.path(), &bin] {
            fs::set_permissions(made, fs::Permissions::from_mode(0o755))
                .map_err(Error::io("open", made, 0))?;
        }
        Ok(Self { dir, tmp: tmp.to_owned(), prefix, target })
    }

    /// Where the programs go.
    pub(crate) fn bin(&self) -> PathBuf {
        self.dir.path().join("bin")
    }

    /// Where things go that are not part of the entry.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Forgets everything that was put into it.
    pub(crate) fn clear(&self) -> Result<()> {
        let bad = |path: &Path| Error::io("remove", path, 0);
        for dir in [self.bin(), self.dir.path().to_owned()] {
            for item in fs::read_dir(&dir).map_err(bad(&dir))?.flatten() {
                if item.path().is_file() {
                    fs::remove_file(item.path()).map_err(bad(&item.path()))?;
                }
            }
        }
        Ok(())
    }

    /// Makes a link in `bin/` to a file beside it.
    pub(crate) fn link(&self, name: &str, file: &str) -> Result<()> {
        let path = self.bin().join(name);
        symlink(file, &path).map_err(Error::io("link", &path, 0))
    }

    /// Takes stock of `bin/`, makes it durable, writes the manifest and moves everything into place. Blocks.
    pub(crate) fn commit(self, mut manifest: Manifest) -> Result<Manifest> {
        let bin = self.bin();
        let bad = |doing, path: &Path| Error::io(doing, path, 1 << 20);
        for item in fs::read_dir(&bin).map_err(bad("read", &bin))? {
            let path = item.map_err(bad("read", &bin))?.path();
            let Some(name) = path.file_name().map(|n| n.to_string_lossy().into_owned()) else { continue };
            if let Ok(target) = fs::read_link(&path) {
                manifest.links.insert(name, target.to_string_lossy().into_owned());
                continue;
            }
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).map_err(bad("write", &path))?;
            // The rename below must not survive a power cut that the content does not survive.
            File::open(&path).and_then(|file| file.sync_all()).map_err(bad("write", &path))?;
            manifest.files.insert(name, FileRecord::of(&path).map_err(bad("read", &path))?);
        }
        for item in fs::read_dir(self.dir.path()).map_err(bad("read", self.dir.path()))?.flatten() {
            if item.file_name() != "bin" {
                let path = item.path();
                let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                gone.map_err(bad("remove", &path))?;
            }
        }
        manifest.write(self.dir.path())?;
        self.swap_in()?;
        Ok(manifest)
    }

    /// A directory cannot be renamed over another one, so an unusable entry is moved away first. A kill in between leaves
    /// no entry, which is a state everybody copes with.
    fn swap_in(self) -> Result<()> {
        let parent = self.target.parent().unwrap_or(&self.target).to_owned();
        fs::create_dir_all(&parent).map_err(Error::io("create", &parent, 1 << 20))?;
        if fs::symlink_metadata(&self.target).is_ok() {
            let trash = self.tmp.join(format!("{}old", self.prefix));
            fs::rename(&self.target, &trash).map_err(Error::io("replace", &self.target, 0))?;
        }
        let staged = self.dir.keep();
        fs::rename(&staged, &self.target).map_err(Error::io("write", &self.target, 1 << 20))?;
        File::open(&parent).and_then(|dir| dir.sync_all()).map_err(Error::io("write", &parent, 0))?;
        remove_leftovers(&self.tmp, &self.prefix);
        Ok(())
    }
}

/// Removes what earlier work on the same image left. Best effort: what cannot be removed now is met again next time.
fn remove_leftovers(tmp: &Path, prefix: &str) {
    for item in fs::read_dir(tmp).into_iter().flatten().flatten() {
        if item.file_name().to_string_lossy().starts_with(prefix) {
            let path = item.path();
            let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            if let Err(error) = gone {
                tracing::warn!(path = %path.display(), %error, "cannot remove a leftover of the engine's cache");
            }
        }
    }
}
