//! Logs of the programs: bounded, and their end for messages.
//!
//! The programs write into their files themselves, so that they go on when what started them is gone. A file that has
//! grown too large is therefore copied and emptied in place instead of being renamed under its writer.

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
/// How far from its end a file is searched for its last lines, in bytes.
const TAIL_WINDOW: u64 = 1 << 20;
/// Characters that are kept of a line for a message.
const LINE: usize = 400;

/// Keeps every `*.log` of a directory within its bounds until `end`.
pub async fn keep_bounded(directory: PathBuf, end: CancellationToken) {
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

/// Rotates one file if it is larger than so many bytes; says whether it was.
///
/// Lines written between the last copied byte and the emptying are lost; the copy goes on until nothing is left, so
/// that this is a matter of microseconds.
///
/// # Errors
/// What the system says; the current file is emptied even when the copy fails (a full disk is what rotation is for).
pub fn rotate(path: &Path, most: u64) -> io::Result<bool> {
    let mut current = File::options().read(true).write(true).open(path)?;
    if current.metadata()?.len() <= most {
        return Ok(false);
    }
    for n in (1..KEEP).rev() {
        match fs::rename(old(path, n), old(path, n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let copied = copy(&mut current, &old(path, 1));
    current.set_len(0)?;
    copied.map(|()| true)
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

/// The last `lines` lines and the offset behind them; empty when there is no file.
///
/// # Errors
/// What the system says.
pub fn tail(path: &Path, lines: usize) -> io::Result<(Vec<u8>, u64)> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((Vec::new(), 0)),
        Err(error) => return Err(error),
    };
    let length = file.metadata()?.len();
    let start = if lines == usize::MAX { 0 } else { length.saturating_sub(TAIL_WINDOW) };
    file.seek(SeekFrom::Start(start))?;
    let mut text = Vec::new();
    file.take(length - start).read_to_end(&mut text)?;
    let body = text.strip_suffix(b"\n").unwrap_or(&text);
    let cut = body
        .iter()
        .enumerate()
        .rev()
        .filter(|(_, byte)| **byte == b'\n')
        .nth(lines.saturating_sub(1))
        .map_or(0, |(index, _)| index + 1);
    let cut = if lines == 0 { text.len() } else { cut };
    Ok((text.split_off(cut), length))
}

/// The last lines as text for a message: at most `lines` of them, each indented and cut to a sane length.
pub fn tail_text(path: &Path, lines: usize) -> String {
    let (bytes, _) = tail(path, lines).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let cut: Vec<String> =
        text.lines().map(|line| format!("  {}", line.chars().take(LINE).collect::<String>())).collect();
    cut.join("\n")
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
            assert!(rotate(&path, 1).unwrap());
        }
        writeln!(writer, "last").unwrap();
        let read = |path: &Path| fs::read_to_string(path).unwrap();
        assert_eq!(read(&path), "last\n");
        assert_eq!([1, 2, 3].map(|n| read(&old(&path, n))), ["5\n", "4\n", "3\n"]);
        assert!(!old(&path, 4).exists());
        assert!(!rotate(&path, 100).unwrap());
        assert_eq!(read(&path), "last\n");
    }

    #[test]
    fn nothing_else_in_the_directory_is_touched() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("notes.txt"), "more than ten bytes").unwrap();
        fs::write(dir.path().join("a.log"), "more than ten bytes").unwrap();
        rotate_all(dir.path(), 10).unwrap();
        assert_eq!(fs::read_to_string(dir.path().join("notes.txt")).unwrap(), "more than ten bytes");
        assert_eq!(fs::read_to_string(dir.path().join("a.log.1")).unwrap(), "more than ten bytes");
    }

    #[test]
    fn the_end_of_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        assert_eq!(tail(&path, 5).unwrap(), (Vec::new(), 0));
        for (text, lines, expected) in [
            ("", 3, ""),
            ("one\ntwo\nthree\n", 2, "two\nthree\n"),
            ("one\ntwo\nthree", 2, "two\nthree"),
            ("one\ntwo\n", 9, "one\ntwo\n"),
            ("one\ntwo\n", 0, ""),
            ("one\ntwo\n", usize::MAX, "one\ntwo\n"),
            ("\n\n\n", 2, "\n\n"),
        ] {
            fs::write(&path, text).unwrap();
            let (tail, offset) = tail(&path, lines).unwrap();
            assert_eq!(String::from_utf8(tail).unwrap(), expected, "{text:?} {lines}");
            assert_eq!(offset, text.len() as u64);
        }
    }

    #[test]
    fn a_tail_for_a_message_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.log");
        assert_eq!(tail_text(&path, 2), "");
        fs::write(&path, format!("1\n2\n{}\n3", "x".repeat(1000))).unwrap();
        assert_eq!(tail_text(&path, 2), format!("  {}\n  3", "x".repeat(LINE)));
        fs::write(&path, "y".repeat(200_000)).unwrap();
        assert_eq!(tail_text(&path, 5).len(), LINE + 2);
    }
}
