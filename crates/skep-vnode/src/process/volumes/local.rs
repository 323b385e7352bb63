//! Directories that hold what a pod writes: emptyDir, hostPath, claims, and paths inside them.

use std::fs::FileType;
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use k8s_openapi::api::core::v1::{HostPathVolumeSource, Volume};

/// How many entries of a directory are counted before it is called big enough.
const COUNTED: usize = 100_000;

/// An emptyDir: any user of the pod may write.
pub(super) fn make_shared_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o777))
}

/// Makes `link` point to `directory`, which must exist.
pub(super) fn link(link: &Path, directory: &Path) -> io::Result<()> {
    if !std::fs::metadata(directory)?.is_dir() {
        return Err(io::Error::other(format!("{} is not a directory", directory.display())));
    }
    if std::fs::read_link(link).is_ok_and(|target| target == directory) {
        return Ok(());
    }
    if let Some(parent) = link.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
    }
    let _ = std::fs::remove_file(link);
    symlink(directory, link)
}

/// Checks a host path against its type, and makes it where the type says so. Texts are the kubelet's.
pub(super) fn check_host_path(source: &HostPathVolumeSource) -> Result<(), String> {
    let path = Path::new(&source.path);
    if !path.is_absolute() || path.components().any(|c| c == std::path::Component::ParentDir) {
        return Err(format!("hostPath {:?} must be absolute and without \"..\"", source.path));
    }
    let failed = |why: &str| Err(format!("hostPath type check failed: {} {why}", source.path));
    let made = |result: io::Result<()>| match result {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(format!("{}: {error}", source.path))
        }
        _ => Ok(()),
    };
    let found: Option<FileType> = std::fs::metadata(path).ok().map(|m| m.file_type());
    match (source.type_.as_deref().unwrap_or_default(), found) {
        ("", _) => Ok(()),
        ("DirectoryOrCreate", None) => {
            made(std::fs::DirBuilder::new().recursive(true).mode(0o755).create(path))
        }
        ("FileOrCreate", None) => {
            made(std::fs::OpenOptions::new().write(true).create_new(true).mode(0o644).open(path).map(drop))
        }
        ("Directory" | "DirectoryOrCreate", Some(t)) if t.is_dir() => Ok(()),
        ("File" | "FileOrCreate", Some(t)) if t.is_file() => Ok(()),
        ("Socket", Some(t)) if t.is_socket() => Ok(()),
        ("CharDevice", Some(t)) if t.is_char_device() => Ok(()),
        ("BlockDevice", Some(t)) if t.is_block_device() => Ok(()),
        ("Directory" | "DirectoryOrCreate", _) => failed("is not a directory"),
        ("File" | "FileOrCreate", _) => failed("is not a file"),
        ("Socket", _) => failed("is not a socket file"),
        ("CharDevice", _) => failed("is not a character device"),
        ("BlockDevice", _) => failed("is not a block device"),
        (other, _) => Err(format!("{other} is an invalid volume type")),
    }
}

/// A path inside a volume, made as directories where it is missing. A link that leads out of the volume is refused.
pub(super) fn enter(base: &Path, relative: &Path) -> Result<PathBuf, String> {
    let say = |error: io::Error| error.to_string();
    let root = std::fs::canonicalize(base).map_err(say)?;
    let mut path = base.to_path_buf();
    for part in relative.components() {
        path.push(part);
        match std::fs::canonicalize(&path) {
            Ok(real) if real.starts_with(&root) => {}
            Ok(_) => return Err("it leads out of the volume".into()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::DirBuilder::new().mode(0o755).create(&path).map_err(say)?;
            }
            Err(error) => return Err(say(error)),
        }
    }
    Ok(path)
}

/// Bytes of disk a directory takes, links not followed. Gives up counting after many entries and says what it has.
pub(crate) fn size_of(directory: &Path) -> io::Result<u64> {
    let mut bytes = 0;
    let mut open = vec![directory.to_path_buf()];
    let mut left = COUNTED;
    while let Some(directory) = open.pop() {
        let entries = match std::fs::read_dir(&directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for entry in entries {
            left = left.saturating_sub(1);
            // A file may go while we look.
            let Ok(meta) = entry.and_then(|e| Ok((e.path(), e.metadata()?))) else { continue };
            bytes += meta.1.blocks() * 512;
            if meta.1.is_dir() {
                open.push(meta.0);
            }
        }
        if left == 0 {
            break;
        }
    }
    Ok(bytes)
}

/// What kind of volume it is, for messages.
pub(super) fn kind(volume: &Volume) -> String {
    let fields = serde_json::to_value(volume).ok();
    let mut names = fields.as_ref().and_then(|f| f.as_object()).into_iter().flat_map(|o| o.keys());
    names.find(|n| *n != "name").cloned().unwrap_or_else(|| "unknown".into())
}
