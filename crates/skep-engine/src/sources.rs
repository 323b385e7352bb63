//! The Go modules under `engine/`, embedded, so that a lone `skep` binary can build. [`write`] puts them on disk for Go.

use std::borrow::Cow;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::recipe::{GoModule, SourceFile};

/// Name and content.
type Embedded = (&'static str, &'static [u8]);

macro_rules! modules {
    ($($module:literal: $($name:literal),+;)+) => {
        &[$(($module, &[$(($name, include_bytes!(concat!("../../../engine/", $module, "/", $name)).as_slice())),+])),+]
    };
}

/// Every module of the product, with all of its files.
const MODULES: &[(&str, &[Embedded])] = modules! {
    "kube": "go.mod", "kube-1.35.mod", "kube-1.35.sum", "kube-1.36.mod", "kube-1.36.sum", "main.go", "node/main.go";
    "etcd": "go.mod", "go.sum", "main.go";
    "containerd": "go.mod", "go.sum", "tools.go";
    "cni": "go.mod", "go.sum", "tools.go";
    "coredns": "go.mod", "go.sum", "main.go";
    "metrics-server": "go.mod", "go.sum", "tools.go";
    "pause": "go.mod", "main.go";
};

/// An embedded module with these of its files only, so that a change to another one does not make it be built again.
pub(crate) fn module(name: &str, files: &[String], modfile: Option<String>) -> GoModule {
    let all = MODULES.iter().find(|(module, _)| *module == name).map_or(&[][..], |(_, files)| files);
    let files = all.iter().filter(|(file, _)| files.iter().any(|wanted| wanted == file));
    let files =
        files.map(|(name, content)| SourceFile { name: (*name).to_owned(), content: Cow::Borrowed(content) });
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
        let parent = path.parent().unwrap_or(&dir);
        fs::create_dir_all(parent).map_err(Error::io("create", parent, 0))?;
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

    fn etcd() -> GoModule {
        module("etcd", &["go.mod", "go.sum", "main.go"].map(str::to_owned), None)
    }

    #[test]
    fn a_module_has_the_files_that_are_asked_for() {
        let of = |minor: &str| {
            let modfile = format!("kube-{minor}.mod");
            module("kube", &["node/main.go".to_owned(), "go.mod".to_owned(), modfile.clone()], Some(modfile))
        };
        let names: Vec<_> = of("1.36").files.into_iter().map(|f| f.name).collect();
        assert_eq!(names, ["go.mod", "kube-1.36.mod", "node/main.go"]);
        assert_ne!(of("1.35").digest(), of("1.36").digest());
    }

    #[test]
    fn files_in_directories() {
        let root = tempfile::tempdir().unwrap();
        let module = module("kube", &["go.mod".to_owned(), "node/main.go".to_owned()], None);
        let dir = write(&module, root.path()).unwrap();
        for file in &module.files {
            assert_eq!(fs::read(dir.join(&file.name)).unwrap(), *file.content);
        }
        let checkout = root.path().join("engine");
        fs::create_dir_all(checkout.join("kube/node")).unwrap();
        fs::write(checkout.join("kube/go.mod"), "").unwrap();
        fs::write(checkout.join("kube/node/main.go"), "changed").unwrap();
        let changed = from_checkout(module, &checkout).unwrap();
        assert_eq!(*changed.files[1].content, *b"changed");
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
