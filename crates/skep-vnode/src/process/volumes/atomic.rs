//! Replacing all files of a volume at once.
//!
//! A volume looks like this, and a reader that follows `name` sees one generation or the other, never a mixture:
//! ```text
//! name   → ..data/name
//! ..data → ..1700000000123456789
//! ..1700000000123456789/name
//! ```
//! It is the layout the kubelet makes, and programs that watch for changes (`fsnotify` on `..data`) rely on it.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

use super::File;

/// The link to the present generation.
const CURRENT: &str = "..data";
/// The link before it takes its place.
const NEXT: &str = "..data_tmp";
/// Mode of directories inside a volume.
const DIRECTORY_MODE: u32 = 0o755;

/// Makes the volume hold exactly these files. Returns whether anything changed; nothing is touched when nothing did.
pub(super) fn write(volume: &Path, files: &[File]) -> io::Result<bool> {
    let current = std::fs::read_link(volume.join(CURRENT)).ok();
    if let Some(generation) = &current
        && same(&volume.join(generation), files)
        && visible(volume, files).is_ok()
    {
        return Ok(false);
    }
    let generation = format!("..{}", jiff::Timestamp::now().as_nanosecond());
    let directory = volume.join(&generation);
    make_directory(&directory)?;
    for file in files {
        write_file(&directory, file)?;
    }
    let next = volume.join(NEXT);
    remove(&next)?;
    symlink(&generation, &next)?;
    std::fs::rename(&next, volume.join(CURRENT))?;
    show(volume, files)?;
    clear(volume, &generation, files)?;
    Ok(true)
}

fn write_file(directory: &Path, file: &File) -> io::Result<()> {
    let path = directory.join(&file.path);
    if let Some(parent) = file.path.parent() {
        let mut made = directory.to_path_buf();
        for part in parent.components() {
            made.push(part);
            make_directory(&made)?;
        }
    }
    let mut out = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    out.write_all(&file.data)?;
    out.set_permissions(PermissionsExt::from_mode(file.mode))
}

fn make_directory(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Ok(()) => std::fs::set_permissions(path, PermissionsExt::from_mode(DIRECTORY_MODE)),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// Whether a generation holds exactly these files. Whatever cannot be read counts as different.
fn same(generation: &Path, files: &[File]) -> bool {
    let mut found = BTreeSet::new();
    if list(generation, &mut PathBuf::new(), &mut found).is_err() {
        return false;
    }
    found.len() == files.len()
        && files.iter().all(|file| {
            let path = generation.join(&file.path);
            let mode = std::fs::symlink_metadata(&path).map(|m| m.permissions().mode() & 0o777);
            found.contains(&file.path)
                && mode.is_ok_and(|m| m == file.mode)
                && std::fs::read(&path).is_ok_and(|data| data == file.data)
        })
}

fn list(root: &Path, below: &mut PathBuf, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(&below))? {
        let entry = entry?;
        below.push(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, below, found)?;
        } else {
            found.insert(below.clone());
        }
        below.pop();
    }
    Ok(())
}

/// First path elements: what is visible in the volume.
fn names(files: &[File]) -> BTreeSet<OsString> {
    files
        .iter()
        .filter_map(|f| match f.path.components().next() {
            Some(Component::Normal(name)) => Some(name.to_owned()),
            _ => None,
        })
        .collect()
}

fn visible(volume: &Path, files: &[File]) -> io::Result<()> {
    names(files).into_iter().try_for_each(|name| std::fs::symlink_metadata(volume.join(name)).map(drop))
}

fn show(volume: &Path, files: &[File]) -> io::Result<()> {
    for name in names(files) {
        let link = volume.join(&name);
        let target = Path::new(CURRENT).join(&name);
        if std::fs::read_link(&link).is_ok_and(|t| t == target) {
            continue;
        }
        remove(&link)?;
        symlink(target, link)?;
    }
    Ok(())
}

/// Removes names that are no longer there and older generations. A process that has an old file open keeps it.
fn clear(volume: &Path, generation: &str, files: &[File]) -> io::Result<()> {
    let keep = names(files);
    for entry in std::fs::read_dir(volume)? {
        let name = entry?.file_name();
        if name == CURRENT || name == generation || keep.contains(&name) {
            continue;
        }
        remove(&volume.join(name))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
