//! Copying from the raw files of one container into its log. Plain blocking code: the [`pump`](super::pump) calls it
//! where that is allowed.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};

use jiff::Timestamp;
use rustix::fs::{FallocateFlags, SeekFrom};

use super::position::Position;
use super::{LogPaths, LogPolicy, cri, files};

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;
/// Chunks of each raw file copied in one step, so that a loud container does not keep the others waiting.
const CHUNKS: usize = 16;
/// Raw bytes that are given back to the file system together.
const PUNCH: u64 = 1 << 20;
/// Holes begin and end at multiples of this.
const BLOCK: u64 = 4096;
/// Mode of log files.
const MODE: u32 = 0o600;

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// The log has grown.
    pub wrote: bool,
    /// There is more to copy right now.
    pub more: bool,
}

/// The state of copying.
pub(super) struct Copier {
    paths: LogPaths,
    policy: LogPolicy,
    raw: [Raw; 2],
    log: File,
    position: Position,
    positions: File,
}

struct Raw {
    file: File,
    stream: usize,
    /// Up to here it has been given back.
    punched: u64,
    can_punch: bool,
}

impl Copier {
    /// Begins, or goes on where an earlier run of the node stopped.
    pub(super) fn open(paths: LogPaths, policy: LogPolicy) -> io::Result<Self> {
        let read_write = |path| {
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(MODE).open(path)
        };
        std::fs::create_dir_all(&paths.raw)?;
        if let Some(parent) = paths.log.parent() {
            std::fs::create_dir_all(parent)?;
        }
        let positions = read_write(paths.position())?;
        let log = append_to(&paths)?;
        let inode = log.metadata()?.ino();
        let mut position = Position::read(&positions).unwrap_or_default();
        if position.inode != inode {
            // Killed right after a rotation, or at the very start: nothing in the new file is accounted for.
            position.log = 0;
            position.inode = inode;
        }
        log.set_len(position.log)?;
        let raw = |stream: usize, path| -> io::Result<Raw> {
            Ok(Raw { file: read_write(path)?, stream, punched: 0, can_punch: true })
        };
        let raw = [raw(0, paths.stdout())?, raw(1, paths.stderr())?];
        for (raw, offset) in raw.iter().zip(&mut position.raw) {
            *offset = (*offset).max(raw.first_data()?);
        }
        Ok(Self { paths, policy, raw, log, position, positions })
    }

    /// Copies what there is, up to a bound. `last`: nothing will follow, so an unfinished line is written as it is.
    /// After an error nothing has happened and the step can be repeated.
    pub(super) fn step(&mut self, last: bool) -> io::Result<Step> {
        let mut out = Vec::new();
        let mut next = self.position;
        let mut more = false;
        for (raw, offset) in self.raw.iter().zip(&mut next.raw) {
            more |= raw.take(offset, self.policy.total(), last, &mut out)?;
        }
        if next.raw == self.position.raw {
            return Ok(Step { wrote: false, more });
        }
        if let Err(error) = self.log.write_all(&out) {
            self.log.set_len(self.position.log)?;
            return Err(error);
        }
        next.log += out.len() as u64;
        next.write(&self.positions)?;
        self.position = next;
        for (raw, offset) in self.raw.iter_mut().zip(next.raw) {
            raw.give_back(offset);
        }
        if self.position.log >= self.policy.file_size {
            self.rotate()?;
        }
        Ok(Step { wrote: !out.is_empty(), more })
    }

    fn rotate(&mut self) -> io::Result<()> {
        files::rotate(&self.paths.log, self.policy.files)?;
        self.log = append_to(&self.paths)?;
        self.position.log = 0;
        self.position.inode = self.log.metadata()?.ino();
        self.position.write(&self.positions)
    }

    /// Everything has been copied and nothing will follow.
    pub(super) fn forget_raw(&self) {
        for path in [self.paths.stdout(), self.paths.stderr(), self.paths.position()] {
            super::remove(&path);
        }
    }
}

#[cfg(test)]
impl Copier {
    /// Makes every write to the log fail.
    pub(super) fn break_log(&mut self) {
        self.log = File::open(&self.paths.log).unwrap_or_else(|e| panic!("{e}"));
    }
}

fn append_to(paths: &LogPaths) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(MODE).open(&paths.log)
}

impl Raw {
    /// Where the first byte is that was not given back.
    fn first_data(&self) -> io::Result<u64> {
        match rustix::fs::seek(&self.file, SeekFrom::Data(0)) {
            Ok(offset) => Ok(offset),
            // All hole, or empty.
            Err(rustix::io::Errno::NXIO) => Ok(self.file.metadata()?.len()),
            Err(_) => Ok(0),
        }
    }

    /// Turns raw bytes from `offset` on into entries and moves `offset`. Returns whether it stopped before the end.
    fn take(&self, offset: &mut u64, most: u64, last: bool, out: &mut Vec<u8>) -> io::Result<bool> {
        let length = self.file.metadata()?.len();
        if length < *offset {
            // Somebody truncated it.
            *offset = 0;
        }
        if length == *offset {
            return Ok(false);
        }
        let time = cri::time(Timestamp::now());
        if length - *offset > most {
            let dropped = length - *offset - most / 2;
            *offset += dropped;
            let note =
                format!("[{dropped} bytes were dropped here: they came faster than they could be stored]");
            cri::push(out, &time, self.stream, true, note.as_bytes());
        }
        let mut buffer = vec![0; CHUNK.min(usize::try_from(length - *offset).unwrap_or(CHUNK))];
        for _ in 0..CHUNKS {
            let got = read_at(&self.file, &mut buffer, *offset)?;
            let chunk = buffer.get(..got).unwrap_or_default();
            let end = *offset + got as u64 >= length;
            let used = entries(chunk, last && end, &time, self.stream, out);
            *offset += used as u64;
            if used == 0 || end {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn give_back(&mut self, offset: u64) {
        let end = offset - offset % BLOCK;
        if offset < self.punched {
            self.punched = 0;
        }
        if !self.can_punch || end.saturating_sub(self.punched) < PUNCH {
            return;
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        match rustix::fs::fallocate(&self.file, flags, self.punched, end - self.punched) {
            Ok(()) => self.punched = end,
            Err(error) => {
                tracing::warn!(%error, "this file system takes nothing back: raw logs grow while their containers run");
                self.can_punch = false;
            }
        }
    }
}

/// Cuts a chunk into entries; returns how many bytes were used. What remains is the beginning of a line.
fn entries(chunk: &[u8], last: bool, time: &str, stream: usize, out: &mut Vec<u8>) -> usize {
    let mut used = 0;
    let mut rest = chunk;
    loop {
        let line_end = rest.iter().take(cri::LONGEST + 1).position(|&b| b == b'\n');
        let (text, complete, length) = match line_end {
            Some(at) => (at, true, at + 1),
            None if rest.len() > cri::LONGEST => (cri::LONGEST, false, cri::LONGEST),
            None if last && !rest.is_empty() => (rest.len(), false, rest.len()),
            None => return used,
        };
        cri::push(out, time, stream, complete, rest.get(..text).unwrap_or_default());
        used += length;
        rest = rest.get(length..).unwrap_or_default();
    }
}

fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|r| !r.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
