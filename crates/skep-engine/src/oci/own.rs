//! The engine's programs as container images.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::image::{Config, Image};
use super::layer::{Content, Layer};
use super::layout::{Descriptor, Layout};
use super::linked;
use super::name::Name;
use crate::catalogue::REGISTRY;
use crate::digest::Hasher;
use crate::engine::{Artifact, Engine, Source};
use crate::error::{Error, Result};
use crate::progress::Progress;

/// Where the programs are in their image, and where they are looked for.
const BIN: &str = "usr/local/bin";

impl Layout {
    /// The image of this name: what the engine can make is made, everything else has to be here.
    ///
    /// # Errors
    /// Those of [`Engine::ensure`] and of [`Layout::add`].
    pub async fn find_or_make(
        &self,
        engine: &Engine,
        name: &Name,
        progress: &dyn Progress,
    ) -> Result<Option<Descriptor>> {
        match program(engine, name, progress).await? {
            Some(artifact) => find(self, artifact, name).await,
            None => self.find(name),
        }
    }
}

/// The engine's programs of this name, made if need be; `None` when it knows none.
pub(super) async fn program(
    engine: &Engine,
    name: &Name,
    progress: &dyn Progress,
) -> Result<Option<Artifact>> {
    if name.registry() != REGISTRY {
        return Ok(None);
    }
    match engine.ensure(name.image(), progress).await {
        Err(Error::UnknownImage { .. }) => Ok(None),
        other => other.map(Some),
    }
}

/// The image of these programs, written unless it is there.
pub(super) async fn find(layout: &Layout, artifact: Artifact, name: &Name) -> Result<Option<Descriptor>> {
    let (layout, name) = (layout.clone(), name.clone());
    let find = move || {
        let from = made_from(&artifact)?;
        match layout.find(&name)?.filter(|known| known.made_from() == Some(&from)) {
            Some(known) => Ok(Some(known)),
            None => layout.add(&image(&artifact)?, &[name], &from).map(Some),
        }
    };
    tokio::task::spawn_blocking(find).await.unwrap_or(Ok(None))
}

/// What an image of these programs is made from: changes when they do.
fn made_from(artifact: &Artifact) -> Result<String> {
    let mut hasher = Hasher::default();
    for (name, path) in programs(&artifact.bin_dir)? {
        hasher.field(name.as_bytes());
        match artifact.digests.get(&name) {
            Some(digest) => hasher.field(digest.as_bytes()),
            // Given directories are not questioned; their files are known by size and time.
            None => hasher.field(known_by(&path)?.as_bytes()),
        }
    }
    for library in libraries(artifact)? {
        hasher.field(library.as_os_str().as_encoded_bytes());
        hasher.field(known_by(&library)?.as_bytes());
    }
    Ok(hasher.finish())
}

fn known_by(path: &Path) -> Result<String> {
    let file = fs::metadata(path).map_err(Error::io("read", path, 0))?;
    Ok(format!("{} {}.{}", file.size(), file.mtime(), file.mtime_nsec()))
}

/// What the programs need besides themselves: upstream's are linked statically, ours not always.
fn libraries(artifact: &Artifact) -> Result<Vec<PathBuf>> {
    if artifact.source == Source::Own { linked::libraries() } else { Ok(Vec::new()) }
}

/// The image of these programs: each of them in the search path, links as links. An image of a single program starts it.
fn image(artifact: &Artifact) -> Result<Image> {
    let mut layer = Layer::default();
    layer.directory("tmp", 0o1777);
    let programs = programs(&artifact.bin_dir)?;
    for (name, path) in &programs {
        let inside = format!("{BIN}/{name}");
        match fs::read_link(path) {
            // A link to a program beside it; any other leads out of the directory.
            Ok(target) if target.components().count() == 1 => layer.link(&inside, &target.to_string_lossy()),
            _ => layer.file(&inside, 0o755, Content::Of(path.clone())),
        };
    }
    linked::add(&libraries(artifact)?, &mut layer)?;
    let entrypoint = match programs.as_slice() {
        [(only, _)] => vec![format!("/{BIN}/{only}")],
        _ => Vec::new(),
    };
    let mut path = String::from("PATH=");
    let _ = write!(path, "/{BIN}:/usr/bin:/bin");
    let config = Config { entrypoint, env: vec![path], working_dir: "/".into(), ..Config::default() };
    Ok(Image { layers: vec![layer], config })
}

fn programs(bin: &Path) -> Result<Vec<(String, PathBuf)>> {
    let entries = fs::read_dir(bin).map_err(Error::io("read", bin, 0))?;
    let mut programs = Vec::new();
    for entry in entries {
        let entry = entry.map_err(Error::io("read", bin, 0))?;
        if let Ok(name) = entry.file_name().into_string() {
            programs.push((name, entry.path()));
        }
    }
    programs.sort();
    Ok(programs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(bin: &Path) -> Artifact {
        let image = "skep.dev/x:1".parse().unwrap();
        Artifact { image, bin_dir: bin.to_owned(), source: Source::Given, digests: Default::default() }
    }

    #[test]
    fn one_program_is_started_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("one"), "x").unwrap();
        assert_eq!(image(&artifact(dir.path())).unwrap().config.entrypoint, ["/usr/local/bin/one"]);
        std::os::unix::fs::symlink("one", dir.path().join("other")).unwrap();
        let image = image(&artifact(dir.path())).unwrap();
        assert!(image.config.entrypoint.is_empty());
        for path in ["usr/local/bin/one", "usr/local/bin/other", "tmp"] {
            assert!(image.layers[0].has(path), "{path}");
        }
    }

    #[test]
    fn another_program_is_another_image() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("one"), "x").unwrap();
        let before = made_from(&artifact(dir.path())).unwrap();
        assert_eq!(made_from(&artifact(dir.path())).unwrap(), before);
        fs::write(dir.path().join("one"), "xy").unwrap();
        assert_ne!(made_from(&artifact(dir.path())).unwrap(), before);
    }
}
