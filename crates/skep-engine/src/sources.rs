//! The Go modules under `engine/`, embedded, so that a lone `skep` binary can build. [`write`] puts them on disk for Go.

use std::borrow::Cow;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::recipe::{GoModule, SourceFile};

macro_rules! files {
    ($module:literal: $($name:literal),+ $(,)?) => {
        &[$(($name, include_bytes!(concat!("../../../engine/", $module, "/", $name)))),+]
    };
}

type Embedded = &'static [(&'static str, &'static [u8])];

const KUBE: Embedded =
    files!("kube": "go.mod", "kube-1.35.mod", "kube-1.35.sum", "kube-1.36.mod", "kube-1.36.sum", "main.go");
const ETCD: Embedded = files!("etcd": "go.mod", "go.sum", "main.go");

/// The Kubernetes programs of one minor, `1.36`. A module holds the files of its own minor only, so that a change to
/// one minor does not make the other one be built again.
pub(crate) fn kube(minor: &str) -> GoModule {
    let modfile = format!("kube-{minor}.mod");
    let own = [modfile.as_str(), &format!("kube-{minor}.sum"), "go.mod", "main.go"];
    module("kube", KUBE.iter().filter(|(name, _)| own.contains(name)), Some(modfile.clone()))
}

/// etcd and its tools.
pub(crate) fn etcd() -> GoModule {
    module("etcd", ETCD.iter(), None)
}

fn module<'a>(
    name: &str,
    files: impl Iterator<Item = &'a (&'static str, &'static [u8])>,
    modfile: Option<String>,
) -> GoModule {
    let files = files
        .map(|(name, content)| SourceFile { name: (*name).to_owned(), content: Cow::Borrowed(*content) });
    GoModule { name: name.to_owned(), files: files.collect(), modfile }
}

/// Replaces the files of an embedded module by those of a checkout's `engine/` directory.
pub(crate) fn from_checkout(mut module: GoModule, engine_dir: &Path) -> Result<GoModule> {
    for file in &mut module.files {
        let path = engine_dir.join(&module.name).join(&file.name);
        file.content = Cow::Owned(fs::read(&path).map_err(Error::io("read", &path, 0))?);
    }
    Ok(module)
}

/// Writes a module to `<root>/<name>-<digest>/` unless it is there, and returns that directory. What is there is
/// compared byte by byte: a person may have edited it.
pub(crate) fn write(module: &GoModule, root: &Path) -> Result<PathBuf> {
    let dir = root.join(format!("{}-{}", module.name, &module.digest()[..12]));
    let same = |file: &SourceFile| fs::read(dir.join(&file.name)).is_ok_and(|found| found == *file.content);
    fs::create_dir_all(&dir).map_err(Error::io("create", &dir, 0))?;
    for file in module.files.iter().filter(|file| !same(file)) {
        let path = dir.join(&file.name);
        let mut temporary =
            tempfile::NamedTempFile::new_in(root).map_err(Error::io("write in", root, 1 << 20))?;
        temporary.write_all(&file.content).map_err(Error::io("write", &path, 1 << 20))?;
        temporary.persist(&path).map_err(|e| Error::io("write", &path, 1 << 20)(e.error))?;
    }
    Ok(dir)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minor_has_its_own_files_only() {
        let module = kube("1.36");
        let names: Vec<_> = module.files.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["go.mod", "kube-1.36.mod", "kube-1.36.sum", "main.go"]);
        assert_ne!(kube("1.35").digest(), module.digest());
    }

    #[test]
    fn an_edited_source_is_put_right() {
        let root = tempfile::tempdir().unwrap();
        let module = etcd();
        let dir = write(&module, root.path()).unwrap();
        fs::write(dir.join("main.go"), "package broken").unwrap();
        fs::remove_file(dir.join("go.sum")).unwrap();
        assert_eq!(write(&module, root.path()).unwrap(), dir);
        for file in &module.files {
            assert_eq!(fs::read(dir.join(&file.name)).unwrap(), *file.content);
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), module.files.len());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "temporary files were left");
    }

    #[test]
    fn a_checkout_takes_the_place_of_what_is_embedded() {
        let checkout = tempfile::tempdir().unwrap();
        let dir = checkout.path().join("etcd");
        fs::create_dir(&dir).unwrap();
        for file in &etcd().files {
            fs::write(dir.join(&file.name), "changed").unwrap();
        }
        let module = from_checkout(etcd(), checkout.path()).unwrap();
        assert!(module.files.iter().all(|f| *f.content == *b"changed"));
        fs::remove_file(dir.join("main.go")).unwrap();
        assert_eq!(from_checkout(etcd(), checkout.path()).unwrap_err().code().to_string(), "SKEP-1009");
    }
}
