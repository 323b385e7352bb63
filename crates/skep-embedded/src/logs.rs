//! Log files: opening, bounding, reading the end, following.
//!
//! The programs write straight into their files (opened for appending), so that they go on when the supervisor is gone.
//! A file that has grown too large is therefore copied and emptied in place instead of being renamed under its writer.

pub mod follow;

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{Error, Layout, Result};

/// How much is kept of each log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// A file larger than this is rotated, in bytes.
    pub max_bytes: u64,
    /// Old files that are kept besides the current one.
    pub keep: u32,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_bytes: 16 << 20, keep: 3 }
    }
}

/// How often sizes are looked at. A look at the sizes costs microseconds; a watch would wake us at every line.
const PERIOD: Duration = Duration::from_secs(20);
/// How far from its end a file is searched for its last lines, in bytes.
const TAIL_WINDOW: u64 = 1 << 20;

/// Opens a log for appending, readable for its owner only.
///
/// # Errors
/// [`Error::DataDir`] or [`Error::DiskFull`].
pub fn open(path: &Path) -> Result<File> {
    OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(|source| Error::io(path, source))
}

/// Keeps every `*.log` in the log directory within its bounds until `end`.
pub async fn keep_bounded(layout: Layout, policy: Policy, end: CancellationToken) {
    let mut tick = tokio::time::interval(PERIOD);
    while tokio::select! { _ = tick.tick() => true, () = end.cancelled() => false } {
        let dir = layout.logs();
        let rotated = tokio::task::spawn_blocking(move || rotate_all(&dir, policy)).await;
        if let Ok(Err(error)) = rotated {
            tracing::warn!(%error, "log rotation");
        }
    }
}

fn rotate_all(dir: &Path, policy: Policy) -> io::Result<()> {
    for entry in fs::read_dir(dir)?.flatten() {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "log") {
            rotate(&path, policy)?;
        }
    }
    Ok(())
}

/// Rotates one file if it is too large; says whether it was.
///
/// Lines written between the last copied byte and the emptying are lost; the copy goes on until nothing is left, so
/// that this is a matter of microseconds.
///
/// # Errors
/// What the system says; the current file is emptied even when the copy fails (a full disk is what rotation is for).
pub fn rotate(path: &Path, policy: Policy) -> io::Result<bool> {
    let mut current = File::options().read(true).write(true).open(path)?;
    if current.metadata()?.len() <= policy.max_bytes {
        return Ok(false);
    }
    for n in (1..policy.keep).rev() {
        match fs::rename(old(path, n), old(path, n + 1)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    let copied = if policy.keep == 0 { Ok(()) } else { copy(&mut current, &old(path, 1)) };
    current.set_len(0)?;
    copied.map(|()| true)
}

fn copy(from: &mut File, to: &Path) -> io::Result<()> {
    let mut to = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(to)?;
    while io::copy(from, &mut to)? > 0 {}
    Ok(())
}

/// `etcd.log.1` for `etcd.log`.
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

/// The last lines as text for a message, at most `lines` of them and each cut to a sane length.
pub fn tail_text(path: &Path, lines: usize) -> String {
    let (bytes, _) = tail(path, lines).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let cut: Vec<String> =
        text.lines().map(|line| format!("  {}", line.chars().take(400).collect::<String>())).collect();
    cut.join("\n")
}

#[cfg(test)]
mod tests;
