//! The user's cache. An entry is complete or absent: it is put together in a staging directory and moved into place by
//! one rename, with a manifest that says what every file must be.
//!
//! ```text
//! <cache>/kube/v1.36.3/manifest.json
//! <cache>/kube/v1.36.3/bin/{kube, kube-apiserver → kube, …}
//! <cache>/{src,logs,locks,tmp}/
//! ```

mod manifest;
mod staging;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

pub(crate) use manifest::Manifest;
pub(crate) use staging::Staging;

use crate::error::{Error, Result};
use crate::image::ImageRef;
use crate::recipe::Recipe;

/// Where everything is.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

/// What the cache knows about an image.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// It is there and is what it should be.
    Ready(Box<Manifest>),
    /// Every file is there but has been touched since it was checked: only reading it can tell.
    Touched(Box<Manifest>),
    /// It is there and must be made again, for this reason.
    Unusable(String),
    /// It is not there.
    Absent,
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn entry(&self, image: &ImageRef) -> PathBuf {
        self.root.join(image.name()).join(image.tag())
    }

    pub(crate) fn bin(&self, image: &ImageRef) -> PathBuf {
        self.entry(image).join("bin")
    }

    pub(crate) fn locks(&self) -> PathBuf {
        self.root.join("locks")
    }

    pub(crate) fn sources(&self) -> PathBuf {
        self.root.join("src")
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the log of a build goes.
    pub(crate) fn log(&self, image: &ImageRef) -> PathBuf {
        self.root.join("logs").join(format!("{}-{}.log", image.name(), image.tag()))
    }

    /// Makes the directories, and refuses a cache that everybody can write to: its programs are run.
    pub(crate) fn prepare(&self) -> Result<()> {
        for dir in
            [self.root.clone(), self.locks(), self.sources(), self.root.join("logs"), self.root.join("tmp")]
        {
            fs::create_dir_all(&dir).map_err(Error::io("create", &dir, 1 << 20))?;
        }
        let mode = fs::metadata(&self.root).map_err(Error::io("read", &self.root, 0))?.permissions().mode();
        if mode & 0o002 != 0 {
            return Err(Error::InvalidConfig {
                setting: "the engine's cache",
                why: format!(
                    "{} can be written by everybody, and programs are run from it; `chmod o-w` it or set SKEP_ENGINE_CACHE",
                    self.root.display()
                ),
            });
        }
        Ok(())
    }

    /// Looks an image up without reading its files: size and times of each file against the manifest.
    pub(crate) fn lookup(&self, recipe: &Recipe) -> Lookup {
        let entry = self.entry(&recipe.image);
        if !entry.exists() {
            return Lookup::Absent;
        }
        let manifest = match Manifest::read(&entry) {
            Ok(manifest) => manifest,
            Err(why) => return Lookup::Unusable(why),
        };
        if let Some(why) = manifest.refusal(recipe) {
            return Lookup::Unusable(why);
        }
        match manifest.compare(&entry.join("bin"), &recipe.programs()) {
            Ok(true) => Lookup::Ready(Box::new(manifest)),
            Ok(false) => Lookup::Touched(Box::new(manifest)),
            Err(why) => Lookup::Unusable(why),
        }
    }

    /// Reads every file of a touched entry. When all are what they should be, the manifest learns their new times.
    pub(crate) fn verify(&self, image: &ImageRef, mut manifest: Manifest) -> Result<Manifest, String> {
        let entry = self.entry(image);
        manifest.verify(&entry.join("bin"))?;
        manifest.write(&entry).map_err(|e| e.to_string())?;
        Ok(manifest)
    }

    /// An empty directory on the cache's file system in which an entry can be put together. Only to be called under the
    /// image's lock: it removes what killed predecessors left.
    pub(crate) fn stage(&self, image: &ImageRef) -> Result<Staging> {
        Staging::new(&self.root.join("tmp"), image, self.entry(image))
    }
}
