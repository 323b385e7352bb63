//! Mounts below the places of a node.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use nix::mount::{MntFlags, umount2};

use crate::mounts::{Mount, all};

/// Takes away what is mounted below these places, the newest first, and those binds that are ours: where something is, and
/// what it is. What somebody else has mounted at a place itself stays.
///
/// # Errors
/// Something is mounted below them still: nothing there may be deleted then, it may be somebody's data.
pub(super) fn clear(state: &Path, binds: &[(PathBuf, PathBuf)]) -> io::Result<()> {
    let places: Vec<&Path> = [state].into_iter().chain(binds.iter().map(|(at, _)| at.as_path())).collect();
    for mount in below(all()?, &places).into_iter().rev() {
        // One may go with another; what does not go is seen below.
        let _ = umount2(&mount, MntFlags::MNT_DETACH);
    }
    for (at, of) in binds {
        if at != of && is_same(at, of) {
            umount2(at, MntFlags::MNT_DETACH)?;
        }
    }
    match below(all()?, &places).first() {
        Some(left) => Err(io::Error::other(format!("{} is still mounted", left.display()))),
        None => Ok(()),
    }
}

/// Mounts below these places, in the order in which they were made.
fn below(mounts: Vec<Mount>, places: &[&Path]) -> Vec<PathBuf> {
    mounts
        .into_iter()
        .map(|mount| mount.at)
        .filter(|at| places.iter().any(|place| at.starts_with(place) && at != place))
        .collect()
}

/// Whether two paths lead to one directory.
fn is_same(a: &Path, b: &Path) -> bool {
    match (fs::metadata(a), fs::metadata(b)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mounts::parse;

    #[test]
    fn only_what_is_below_the_nodes_places_is_found() {
        let line = |at: &str| format!("36 35 98:0 / {at} rw shared:1 - ext4 /dev/root rw\n");
        let text: String =
            ["/", "/var/lib/kubelet", "/var/lib/kubelet/pods/a\\040b", "/var/lib/kubelet2", "/home"]
                .map(line)
                .concat();
        let found = below(parse(&text), &[Path::new("/var/lib/kubelet")]);
        assert_eq!(
            found,
            [PathBuf::from("/var/lib/kubelet/pods/a b")],
            "somebody may have mounted the place itself"
        );
    }

    #[test]
    fn nothing_to_take_away_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let (at, of) = (dir.path().join("at"), dir.path().join("of"));
        for path in [&at, &of] {
            fs::create_dir(path).unwrap();
        }
        clear(dir.path(), &[(at, of.clone()), (of.clone(), of), ("/nowhere".into(), "/".into())]).unwrap();
    }
}
