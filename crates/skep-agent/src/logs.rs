//! Logs of the programs: bounded, and their end for messages.
//!
//! The programs write into their files themselves, so that they go on when the agent is gone. A file that has grown too
//! large is therefore copied and emptied in place instead of being renamed under its writer.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

/// A file larger than this is rotated, in bytes.
const MAX_BYTES: u64 = 16 << 20;
/// Old files that are kept besides the current one.
const KEEP: u32 = 3;
/// How often sizes are looked at: that costs microseconds, while a watch would wake us at every line.
const PERIOD: Duration = Duration::from_secs(20);
/// How far from its end a file is searched for its last lines, in bytes, and how much of a line is kept.
const WINDOW: u64 = 64 << 10;
const LINE: usize = 400;

/// Keeps every `*.log` of a directory within its bounds until `end`.
pub(crate) async fn keep_bounded(directory: PathBuf, end: CancellationToken) {
    let mut tick = tokio::time::interval(PERIOD);
    while tokio::select! { _ = tick.tick() => true, () = end.cancelled() => false } {
        let directory = directory.clone();
        let rotated = tokio::task::spawn_blocking(move || rotate_all(&directory, MAX_BYTES)).await;
        if let Ok(Err(error)) = rotated {
            tracing::warn!(%error, "log rotation");
        }
    }
}

fn rotate_all(directory: &Path, most: u64) -> io::Result<()> {
    for entry in fs::read_dir(directory)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            rotate(&path, most)?;
        }
    }
    Ok(())
}

/// Rotates one file if it is too large. Lines written between the last copied byte and the emptying are lost: the copy
/// goes on until nothing is left, so that this is a matter of microseconds.
fn rotate(path: &Path, most: u64) -> io::Result<()> {
    let mut current = File::options().read(true).write(true).open(path)?;
    if current.metadata()?.len() <= most {
        return Ok(());
    }
    for n in (1..KEEP).rev() {
        match fs::rename(old(path, n), old(path, n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let copied = copy(&mut current, &old(path, 1));
    // Also when there was no room for the copy: that is what rotation is for.
    current.set_len(0)?;
    copied
}

fn copy(from: &mut File, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    while io::copy(from, &mut to)? > 0 {}
    Ok(())
}

/// `kubelet.log.1` for `kubelet.log`.
fn old(path: &Path, n: u32) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{n}"));
    PathBuf::from(name)
}

/// The last lines of a log, each cut to a sane length; empty when there is none.
pub(crate) fn tail(path: &Path, lines: usize) -> String {
    let bytes = end_of(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let mut last: Vec<String> =
        text.lines().rev().take(lines).map(|line| line.chars().take(LINE).collect()).collect();
    last.reverse();
    last.join("\n")
}

fn end_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(WINDOW)))?;
    let mut bytes = Vec::new();
    file.take(WINDOW).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_writer_goes_on_while_its_log_is_rotated() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        let mut writer = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        for n in 0..6 {
            writeln!(writer, "{n}").unwrap();
            rotate_all(dir.path(), 1).unwrap();
        }
        writeln!(writer, "last").unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "last\n");
        assert_eq!([1, 2, 3].map(|n| read(&old(&path, n))), ["5\n", "4\n", "3\n"]);
        assert!(!old(&path, 4).exists());
        rotate_all(dir.path(), 100).unwrap();
        assert_eq!(read(&path), "last\n");
    }

    #[test]
    fn the_end_of_a_log_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        assert_eq!(tail(&path, 2), "");
        fs::write(&path, format!("1\n2\n{}\n3", "x".repeat(1000))).unwrap();
        assert_eq!(tail(&path, 2), format!("{}\n3", "x".repeat(LINE)));
        fs::write(&path, "y".repeat(200_000)).unwrap();
        assert_eq!(tail(&path, 5).len(), LINE);
    }
}
