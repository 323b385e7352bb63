//! The shared libraries of the running program, so that an image of it runs where there is nothing else.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::layer::{Content, Layer};
use crate::error::{Error, Result};

const MAPS: &str = "/proc/self/maps";
/// Where a program says that its loader is, by architecture: part of the ABI, so every distribution has it there.
const LOADERS: &[(&str, &str)] =
    &[("x86_64", "lib64/ld-linux-x86-64.so.2"), ("aarch64", "lib/ld-linux-aarch64.so.1")];

/// The files of the libraries and of their loader; none when the program is linked statically.
///
/// # Errors
/// [`Error::Io`]; also when a library was replaced on disk since this program started.
pub(super) fn libraries() -> Result<Vec<PathBuf>> {
    let maps = fs::read_to_string(MAPS).map_err(Error::io("read", Path::new(MAPS), 0))?;
    let mapped: BTreeSet<&str> = maps.lines().filter_map(library).collect();
    mapped
        .into_iter()
        .map(|path| fs::canonicalize(path).map_err(Error::io("find", Path::new(path), 0)))
        .collect()
}

/// The library of a line of `/proc/PID/maps` (proc_pid_maps(5)): executable, and named like one.
fn library(line: &str) -> Option<&str> {
    let mut fields = line.split_whitespace();
    let permissions = fields.nth(1)?;
    let path = line.find('/').map(|at| &line[at..])?;
    let name = path.rsplit('/').next()?;
    (permissions.contains('x') && (name.ends_with(".so") || name.contains(".so."))).then_some(path)
}

/// Puts them where they are on this machine, with the names that lead to them, and the loader where programs look for it.
///
/// # Errors
/// [`Error::Io`].
pub(super) fn add(libraries: &[PathBuf], layer: &mut Layer) -> Result<()> {
    let loader = LOADERS.iter().find(|(architecture, _)| *architecture == std::env::consts::ARCH);
    for library in libraries {
        let name = library.file_name().unwrap_or_default().to_string_lossy();
        layer.file(&library.to_string_lossy(), 0o755, Content::Of(library.clone()));
        let dir = library.parent().unwrap_or(Path::new("/"));
        for entry in fs::read_dir(dir).map_err(Error::io("read", dir, 0))?.flatten() {
            let path = entry.path();
            if path.is_symlink() && fs::canonicalize(&path).is_ok_and(|target| target == *library) {
                layer.link(&path.to_string_lossy(), &name);
            }
        }
        if let Some((_, at)) = loader.filter(|(_, at)| at.ends_with(&*name)) {
            layer.file(at, 0o755, Content::Of(library.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_maps() {
        for (line, expected) in [
            ("7f00-7f01 r-xp 00000000 fe:00 12   /usr/lib/x86_64-linux-gnu/libc.so.6", Some("libc.so.6")),
            ("7f00-7f01 r-xp 00000000 fe:00 12   /a b/libm-2.31.so", Some("libm-2.31.so")),
            ("7f00-7f01 r--p 00000000 fe:00 12   /usr/lib/x86_64-linux-gnu/libc.so.6", None),
            ("7f00-7f01 r-xp 00000000 fe:00 12   /usr/bin/skep", None),
            ("7f00-7f01 r-xp 00000000 00:00 0    [vdso]", None),
            ("7f00-7f01 rw-p 00000000 00:00 0", None),
            ("", None),
        ] {
            let name = library(line).and_then(|path| path.rsplit('/').next());
            assert_eq!(name, expected, "{line}");
        }
    }

    /// The test program is linked as the product is; it runs in an image of itself and its libraries alone.
    #[test]
    fn a_program_finds_its_libraries_in_the_layer() {
        let dir = tempfile::tempdir().unwrap();
        let libraries = libraries().unwrap();
        let mut layer = Layer::default();
        add(&libraries, &mut layer).unwrap();
        let mut tar = Vec::new();
        layer.write(&mut tar).unwrap();
        tar::Archive::new(tar.as_slice()).unpack(dir.path()).unwrap();
        let Some(loader) = libraries.iter().find(|path| path.to_string_lossy().contains("/ld-linux")) else {
            assert_eq!(libraries, [] as [PathBuf; 0], "libraries without a loader");
            return;
        };
        // The loader itself says what a program would get, and from where.
        let search: BTreeSet<_> = libraries
            .iter()
            .filter_map(|path| path.parent())
            .map(|path| dir.path().join(path.strip_prefix("/").unwrap()).display().to_string())
            .collect();
        let search = search.into_iter().collect::<Vec<_>>().join(":");
        let loader = dir.path().join(loader.strip_prefix("/").unwrap());
        let mut command = std::process::Command::new(&loader);
        command
            .args(["--inhibit-cache", "--library-path", &search, "--list"])
            .arg(std::env::current_exe().unwrap());
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && !said.contains("not found"), "{said}");
        let outside = |line: &&str| line.contains("=> /") && !line.contains(&*dir.path().to_string_lossy());
        assert_eq!(said.lines().find(outside), None, "{said}");
    }
}
