//! The resolver: from a name to programs.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::cache::{Cache, Lookup, Manifest, Staging};
use crate::catalogue;
use crate::check;
use crate::config::EngineConfig;
use crate::error::{Error, Result};
use crate::gobuild::Build;
use crate::image::ImageRef;
use crate::lock::Locks;
use crate::progress::{Phase, Progress, Reporter};
use crate::recipe::Recipe;
use crate::release::{self, Outcome};
use crate::sources;

/// Gives images. Cheap to clone; clones share their locks.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    cache: Cache,
    recipes: Vec<Recipe>,
    locks: Locks,
    /// When a release host could not be reached, and why: it is left alone for a while.
    unreachable: Mutex<Option<(Instant, String)>>,
}

/// An image that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Which image it is.
    pub image: ImageRef,
    /// The directory with its programs.
    pub bin_dir: PathBuf,
    /// How it came about.
    pub source: Source,
    /// SHA-256 of each file, by name. Empty for given directories: what the user names is not questioned.
    pub digests: BTreeMap<String, String>,
}

/// How an image came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// From a directory that the user named.
    Given,
    /// From an official release, digests checked.
    Release,
    /// Built from the Go modules.
    Built,
    /// The running program itself.
    Own,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Given => "given",
            Self::Release => "release",
            Self::Built => "built",
            Self::Own => "own",
        })
    }
}

impl Artifact {
    /// The path of one of its programs, if it has it.
    pub fn program(&self, name: &str) -> Option<PathBuf> {
        let plain = !name.is_empty() && !name.contains('/') && name != "." && name != "..";
        Some(self.bin_dir.join(name)).filter(|path| plain && path.is_file())
    }
}

impl Engine {
    /// An engine with these settings. Touches nothing until it is asked for something.
    pub fn new(config: EngineConfig) -> Self {
        let cache = Cache::new(config.cache_dir.clone());
        let inner = Inner {
            config,
            cache,
            recipes: catalogue::recipes(),
            locks: Locks::default(),
            unreachable: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// An engine with the settings of the environment ([`EngineConfig::from_env`]).
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] when no cache directory can be found out.
    pub fn from_env() -> Result<Self> {
        EngineConfig::from_env().map(Self::new)
    }

    /// Its settings.
    pub fn config(&self) -> &EngineConfig {
        &self.inner.config
    }

    pub(crate) fn cache(&self) -> &Cache {
        &self.inner.cache
    }

    /// The images this version knows how to make.
    pub(crate) fn known(&self) -> impl Iterator<Item = &ImageRef> {
        self.inner.recipes.iter().map(|recipe| &recipe.image)
    }

    /// How an image is made, from the sources in force.
    pub(crate) fn recipe(&self, image: &ImageRef) -> Option<Result<Cow<'_, Recipe>>> {
        let recipe = self.inner.recipes.iter().find(|recipe| recipe.image == *image)?;
        let Some(dir) = &self.inner.config.sources_dir else { return Some(Ok(Cow::Borrowed(recipe))) };
        let module = sources::from_checkout(recipe.module.clone(), dir);
        Some(module.map(|module| Cow::Owned(Recipe { module, ..recipe.clone() })))
    }

    /// Gives an image, making it if it is not there. Dropping the future stops the work; what was done is not lost to
    /// Go's own cache.
    ///
    /// # Errors
    /// Any of [`Error`]; [`Error::UnknownImage`] names the images that exist.
    pub async fn ensure(&self, image: &ImageRef, progress: &dyn Progress) -> Result<Artifact> {
        if let Some(artifact) = self.without_making(image)? {
            return Ok(artifact);
        }
        let Some(recipe) = self.recipe(image) else {
            let known = self.list().iter().map(|entry| entry.image.to_string()).collect();
            return Err(Error::UnknownImage { image: image.clone(), known });
        };
        let recipe = recipe?;
        self.make(&recipe, progress).await
    }

    /// Like [`Engine::ensure`], for an image that is not one of the product's own.
    ///
    /// # Errors
    /// Any of [`Error`] but [`Error::UnknownImage`].
    pub async fn ensure_recipe(&self, recipe: &Recipe, progress: &dyn Progress) -> Result<Artifact> {
        match self.without_making(&recipe.image)? {
            Some(artifact) => Ok(artifact),
            None => self.make(recipe, progress).await,
        }
    }

    /// Gives an image if it is there, without waiting for anything. A damaged one is not there.
    pub fn find(&self, image: &ImageRef) -> Option<Artifact> {
        if let Some(artifact) = self.without_making(image).ok()? {
            return Some(artifact);
        }
        let recipe = self.recipe(image)?.ok()?;
        match self.inner.cache.lookup(&recipe) {
            Lookup::Ready(manifest) | Lookup::Touched(manifest) => Some(self.artifact(image, &manifest)),
            Lookup::Unusable(_) | Lookup::Absent => None,
        }
    }

    /// Given directories, and the running program.
    fn without_making(&self, image: &ImageRef) -> Result<Option<Artifact>> {
        let artifact = |bin_dir, source| {
            Some(Artifact { image: image.clone(), bin_dir, source, digests: BTreeMap::new() })
        };
        for dir in &self.inner.config.given {
            let bin = dir.join(image.name()).join(image.tag()).join("bin");
            if bin.is_dir() {
                let bin = std::path::absolute(&bin).map_err(Error::io("find", &bin, 0))?;
                return Ok(artifact(bin, Source::Given));
            }
        }
        match &self.inner.config.own_program {
            Some(exe) if *image == catalogue::skep_image() => Ok(artifact(self.own_bin(exe)?, Source::Own)),
            _ => Ok(None),
        }
    }

    /// A directory with nothing but a link to the running program. Two checkouts of the same version are two directories.
    fn own_bin(&self, exe: &Path) -> Result<PathBuf> {
        let mut hasher = crate::digest::Hasher::default();
        hasher.field(exe.as_os_str().as_encoded_bytes());
        let image = catalogue::skep_image();
        let bin = self.inner.cache.entry(&image).join(&hasher.finish()[..12]).join("bin");
        let link = bin.join("skep");
        if fs::read_link(&link).is_ok_and(|target| target == exe) {
            return Ok(bin);
        }
        fs::create_dir_all(&bin).map_err(Error::io("create", &bin, 1 << 20))?;
        match std::os::unix::fs::symlink(exe, &link) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                Err(Error::io("link", &link, 0)(error))
            }
            _ => Ok(bin),
        }
    }

    fn artifact(&self, image: &ImageRef, manifest: &Manifest) -> Artifact {
        Artifact {
            image: image.clone(),
            bin_dir: self.inner.cache.bin(image),
            source: manifest.source,
            digests: manifest.files.iter().map(|(name, file)| (name.clone(), file.sha256.clone())).collect(),
        }
    }

    async fn make(&self, recipe: &Recipe, progress: &dyn Progress) -> Result<Artifact> {
        let Inner { config, cache, locks, .. } = &*self.inner;
        let image = &recipe.image;
        // The common case: it is there, and nothing needs to be locked or said.
        if let Lookup::Ready(manifest) = cache.lookup(recipe) {
            return Ok(self.artifact(image, &manifest));
        }
        cache.prepare()?;
        let reporter = Reporter::new(progress, image);
        let waiting = |holder: &str| reporter.phase(Phase::Waiting { holder: holder.to_owned() });
        // Shared with the blocking threads below: when this future is dropped, they still finish under the lock.
        let held = Arc::new(locks.acquire(&cache.locks(), image, config.limits.wait, waiting).await?);

        // Whoever held the lock may have made it.
        match cache.lookup(recipe) {
            Lookup::Ready(manifest) => return Ok(self.artifact(image, &manifest)),
            Lookup::Touched(manifest) => {
                reporter.phase(Phase::Checking);
                let (cache, of, held) = (cache.clone(), image.clone(), Arc::clone(&held));
                let verified = blocking(cache.root().to_owned(), move || {
                    let _held = held;
                    Ok(cache.verify(&of, *manifest))
                });
                match verified.await? {
                    Ok(manifest) => return Ok(self.artifact(image, &manifest)),
                    Err(why) => {
                        reporter.note(format!("what is in the cache cannot be used and is made again: {why}"))
                    }
                }
            }
            Lookup::Unusable(why) => {
                reporter.note(format!("what is in the cache cannot be used and is made again: {why}"));
            }
            Lookup::Absent => {}
        }
        self.check_space(recipe)?;
        let staging = cache.stage(image)?;
        let (source, origin) = self.fill(recipe, &staging, &reporter).await?;
        reporter.phase(Phase::Checking);
        check::versions(recipe, &staging, config.limits.check).await?;
        let manifest = Manifest::new(recipe, source, origin);
        let committed = blocking(cache.root().to_owned(), move || {
            let _held = held;
            staging.commit(manifest)
        });
        let manifest = committed.await?;
        reporter.phase(Phase::Ready);
        Ok(self.artifact(image, &manifest))
    }

    /// Release first, then build.
    async fn fill(
        &self,
        recipe: &Recipe,
        staging: &Staging,
        reporter: &Reporter<'_>,
    ) -> Result<(Source, String)> {
        let Inner { config, cache, .. } = &*self.inner;
        let no_release = match self.fetch(recipe, staging, reporter).await? {
            Ok(origin) => return Ok((Source::Release, origin)),
            Err(why) => why,
        };
        let no_release =
            if no_release.is_empty() { no_release } else { format!(" No official release: {no_release}.") };
        let build = Build {
            recipe,
            go: config.go.as_deref(),
            limits: &config.limits,
            sources: sources::write(&recipe.module, &cache.sources())?,
            log: cache.log(&recipe.image),
            cache: cache.root(),
            no_release: &no_release,
        };
        let go = build.run(staging, reporter).await?;
        Ok((Source::Built, go))
    }

    /// The inner error says why there is no release to be had; it is empty when none was looked for.
    async fn fetch(
        &self,
        recipe: &Recipe,
        staging: &Staging,
        reporter: &Reporter<'_>,
    ) -> Result<Result<String, String>> {
        let Inner { config, unreachable, .. } = &*self.inner;
        let Some(release) = &recipe.release else { return Ok(Err(String::new())) };
        let Some(base) = release::base(&config.releases, release.upstream)? else {
            return Ok(Err(String::new()));
        };
        let silent = unreachable.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let why = match silent {
            Some((since, why)) if since.elapsed() < config.limits.retry_after => why,
            _ => match release::fetch(release, &base, &config.limits, staging, reporter).await? {
                Outcome::Fetched(origin) => return Ok(Ok(origin)),
                Outcome::Unavailable { why, unreachable: gone } => {
                    if gone {
                        *unreachable.lock().unwrap_or_else(PoisonError::into_inner) =
                            Some((Instant::now(), why.clone()));
                    }
                    why
                }
            },
        };
        reporter.note(format!("no official release ({why}): building from source instead"));
        staging.clear()?;
        Ok(Err(why))
    }

    fn check_space(&self, recipe: &Recipe) -> Result<()> {
        let root = self.inner.cache.root();
        // A file system that does not say how full it is will say so when it is written to.
        let Ok(stat) = nix::sys::statvfs::statvfs(root) else { return Ok(()) };
        let free = u128::from(stat.blocks_available()) * u128::from(stat.fragment_size());
        if free < u128::from(recipe.need_bytes) {
            return Err(Error::DiskFull { path: root.to_owned(), need_bytes: recipe.need_bytes });
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(
    path: PathBuf,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|e| Error::Cache {
        doing: "work in",
        path,
        source: e.into(),
    })?
}
