//! The files of one log: the present one and older parts `.1` (newest) to `.N`.

use std::io;
use std::path::{Path, PathBuf};

/// More parts than any policy asks for.
const MOST: usize = 1000;

/// Name of an older part.
pub(super) fn part(log: &Path, number: usize) -> PathBuf {
    if number == 0 {
        return log.to_path_buf();
    }
    let mut name = log.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

/// All parts that exist, oldest first, the present one last (whether it exists or not).
pub(super) fn chain(log: &Path) -> Vec<PathBuf> {
    let mut parts: Vec<PathBuf> =
        (1..MOST).map(|n| part(log, n)).take_while(|p| p.symlink_metadata().is_ok()).collect();
    parts.reverse();
    parts.push(log.to_path_buf());
    parts
}

/// Moves every part one further and drops those beyond `keep` (the present file included), so that a new present file
/// can be begun.
pub(super) fn rotate(log: &Path, keep: usize) -> io::Result<()> {
    let parts = chain(log).len();
    for number in (0..parts).rev() {
        let old = part(log, number);
        let done = if number + 1 >= keep.max(1) {
            std::fs::remove_file(&old)
        } else {
            std::fs::rename(&old, part(log, number + 1))
        };
        match done {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_so_many_files() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("0.log");
        for text in ["a", "b", "c", "d"] {
            std::fs::write(&log, text).unwrap();
            rotate(&log, 3).unwrap();
        }
        std::fs::write(&log, "e").unwrap();
        let texts: Vec<String> = chain(&log).iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
        assert_eq!(texts, ["c", "d", "e"]);
        rotate(&log, 1).unwrap();
        assert!(!log.exists());
    }
}
