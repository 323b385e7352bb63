//! Writing files so that a reader, or a start after a power cut, sees the old content or the new, never a part.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use crate::{Error, Result};

/// Mode of files without secrets.
pub(crate) const OPEN: u32 = 0o644;
/// Mode of files with secrets.
pub(crate) const SECRET: u32 = 0o600;

/// Gives `path` this content and says whether that was a change. One process writes a file at a time.
pub(crate) fn put(path: &Path, content: &str, mode: u32) -> Result<bool> {
    if fs::read(path).is_ok_and(|old| old == content.as_bytes()) {
        return Ok(false);
    }
    let directory = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    // With a dot first it is no CNI configuration and no log, whatever the directory is for.
    let temporary = directory.join(format!(".{name}.new"));
    let write = || -> io::Result<()> {
        // From a crash; it may have another mode.
        remove(&temporary)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&temporary)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(directory)?.sync_all()
    };
    write().map(|()| true).map_err(Error::file("write", path))
}

/// Makes a directory and its parents, unless it is there.
pub(crate) fn directory(path: &Path, mode: u32) -> Result<()> {
    DirBuilder::new().recursive(true).mode(mode).create(path).map_err(Error::file("make", path))
}

/// Empties a directory, or makes it.
pub(crate) fn empty(path: &Path, mode: u32) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::file("empty", path)(error)),
        _ => directory(path, mode),
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_replaced_only_when_it_changes_and_after_a_crash_too() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        assert!(put(&path, "1", SECRET).unwrap());
        assert!(!put(&path, "1", SECRET).unwrap());
        // Killed while it wrote.
        fs::write(dir.path().join(".a.new"), "ha").unwrap();
        assert!(put(&path, "2", SECRET).unwrap());
        assert_eq!(fs::read_to_string(&path).unwrap(), "2");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, SECRET);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
