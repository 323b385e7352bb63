//! Reading a log: the last lines, from a time on, up to so many bytes, and following it while it grows.
//!
//! Reading goes over all parts of a log, the oldest first; rotation while somebody reads loses nothing that still
//! exists. Memory per reader is one chunk.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream;
use tokio::sync::watch;

use super::pump::Progress;
use super::{Capture, cri, files};
use crate::backend::{LogFilter, LogOptions, LogStream};

/// Bytes handed out at once.
const CHUNK: usize = 32 * 1024;
/// Bytes read at once when looking for the last lines.
const BACK: u64 = 32 * 1024;

/// Whether the container of a log still runs.
pub enum Ended {
    /// It has ended.
    Yes,
    /// It runs, and this is its log.
    No(Capture),
}

/// Opens a log for reading.
pub async fn open(log: PathBuf, ended: Ended, options: LogOptions) -> io::Result<LogStream> {
    let progress = match &ended {
        Ended::Yes => None,
        Ended::No(capture) => {
            capture.flush().await?;
            Some(capture.progress())
        }
    };
    let follow = options.follow;
    let cursor = tokio::task::spawn_blocking(move || Cursor::open(log, options)).await??;
    let state = Reading { cursor: Some(cursor), progress: progress.filter(|_| follow) };
    Ok(stream::unfold(state, Reading::next).boxed())
}

struct Reading {
    cursor: Option<Cursor>,
    progress: Option<watch::Receiver<Progress>>,
}

impl Reading {
    async fn next(mut self) -> Option<(io::Result<Bytes>, Self)> {
        loop {
            let mut cursor = self.cursor.take()?;
            // Seen before reading: what is written meanwhile wakes us again.
            let ended = self.progress.as_mut().is_none_or(|p| p.borrow_and_update().ended);
            let read = tokio::task::spawn_blocking(move || {
                let chunk = cursor.chunk();
                (cursor, chunk)
            });
            let (cursor, chunk) = match read.await {
                Ok(done) => done,
                Err(error) => return Some((Err(error.into()), self)),
            };
            match chunk {
                Err(error) => return Some((Err(error), self)),
                Ok(chunk) if !chunk.is_empty() => {
                    self.cursor = Some(cursor);
                    return Some((Ok(chunk.into()), self));
                }
                Ok(_) if ended || cursor.is_full() => return None,
                Ok(_) => self.cursor = Some(cursor),
            }
            let progress = self.progress.as_mut()?;
            if progress.changed().await.is_err() {
                // Nobody copies any more: one last look.
                self.progress = None;
            }
        }
    }
}

/// A place in a log.
struct Cursor {
    log: PathBuf,
    file: Option<BufReader<File>>,
    inode: u64,
    since: Option<String>,
    filter: LogFilter,
    timestamps: bool,
    left: u64,
    line_start: bool,
    /// An entry that is not complete in the file yet.
    pending: Vec<u8>,
}

impl Cursor {
    fn open(log: PathBuf, options: LogOptions) -> io::Result<Self> {
        let mut cursor = Self {
            inode: 0,
            since: options.since.map(cri::time),
            filter: options.filter,
            timestamps: options.timestamps,
            left: options.limit_bytes.unwrap_or(u64::MAX),
            line_start: true,
            pending: Vec::new(),
            file: None,
            log,
        };
        let chain = files::chain(&cursor.log);
        let (start, offset) = match options.tail_lines {
            None => (0, 0),
            Some(lines) => last_lines(&chain, lines)?,
        };
        if let Some(path) = chain.get(start) {
            cursor.enter(path, offset)?;
        }
        Ok(cursor)
    }

    fn is_full(&self) -> bool {
        self.left == 0
    }

    fn enter(&mut self, path: &Path, offset: u64) -> io::Result<()> {
        match File::open(path) {
            Ok(mut file) => {
                self.inode = file.metadata()?.ino();
                file.seek(SeekFrom::Start(offset))?;
                self.file = Some(BufReader::new(file));
                Ok(())
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The next bytes; empty at the end.
    fn chunk(&mut self) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        while out.len() < CHUNK && self.left > 0 {
            if let Some(file) = &mut self.file {
                file.read_until(b'\n', &mut self.pending)?;
                if self.pending.last() == Some(&b'\n') {
                    let line = std::mem::take(&mut self.pending);
                    self.entry(&line, &mut out);
                    self.pending = line;
                    self.pending.clear();
                    continue;
                }
            }
            if !self.next_file()? {
                break;
            }
        }
        let fits = usize::try_from(self.left).unwrap_or(usize::MAX).min(out.len());
        out.truncate(fits);
        self.left -= fits as u64;
        Ok(out)
    }

    /// Goes on to the part after the one that is at its end; false when there is none yet.
    fn next_file(&mut self) -> io::Result<bool> {
        let chain = files::chain(&self.log);
        let inodes: Vec<Option<u64>> = chain.iter().map(|p| p.metadata().ok().map(|m| m.ino())).collect();
        let here = inodes.iter().position(|i| self.file.is_some() && *i == Some(self.inode));
        // Not there any more: it was deleted by rotation, the oldest that exists comes after it.
        let next = here.map_or(0, |at| at + 1);
        let Some((path, Some(_))) = chain.get(next).zip(inodes.get(next).copied()) else { return Ok(false) };
        let path = path.clone();
        // Between the end we saw and the rotation something may have been added to this part.
        if let Some(file) = &mut self.file
            && !file.fill_buf()?.is_empty()
        {
            return Ok(true);
        }
        self.pending.clear();
        self.enter(&path, 0)?;
        Ok(true)
    }

    fn entry(&mut self, line: &[u8], out: &mut Vec<u8>) {
        let Some(entry) = line.strip_suffix(b"\n").and_then(cri::parse) else { return };
        let wanted = match self.filter {
            LogFilter::All => true,
            LogFilter::Stdout => entry.stream == cri::STREAMS[0],
            LogFilter::Stderr => entry.stream == cri::STREAMS[1],
        };
        // Times have one fixed form, so they compare as text.
        if !wanted || self.since.as_deref().is_some_and(|since| entry.time < since) {
            return;
        }
        if self.timestamps && self.line_start {
            out.extend_from_slice(entry.time.as_bytes());
            out.push(b' ');
        }
        out.extend_from_slice(entry.text);
        self.line_start = entry.complete;
        if entry.complete {
            out.push(b'\n');
        }
    }
}

/// In which part the last `lines` entries begin, and where.
fn last_lines(chain: &[PathBuf], lines: u64) -> io::Result<(usize, u64)> {
    let mut left = lines;
    for (index, path) in chain.iter().enumerate().rev() {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        let mut end = file.metadata()?.len();
        let whole = end;
        let mut buffer = vec![0; usize::try_from(BACK).unwrap_or_default()];
        while end > 0 {
            let start = end.saturating_sub(BACK);
            let part = buffer.get_mut(..usize::try_from(end - start).unwrap_or_default()).unwrap_or_default();
            file.read_exact_at(part, start)?;
            for (at, _) in part.iter().enumerate().rev().filter(|(_, b)| **b == b'\n') {
                let after = start + at as u64 + 1;
                // The line end at the very end of a file closes its last line, it does not begin one.
                if after == whole {
                    if left == 0 {
                        return Ok((index, after));
                    }
                    continue;
                }
                left = left.saturating_sub(1);
                if left == 0 {
                    return Ok((index, after));
                }
            }
            end = start;
        }
        if whole > 0 {
            // The first line of the file is not preceded by a line end.
            left = left.saturating_sub(1);
            if left == 0 {
                return Ok((index, 0));
            }
        }
    }
    Ok((0, 0))
}

/// The last lines of a log, at most so many lines and bytes, for a termination message.
pub fn tail(log: &Path, lines: usize, bytes: usize) -> io::Result<String> {
    let chain = files::chain(log);
    let (start, offset) = last_lines(&chain, lines as u64)?;
    let mut kept: VecDeque<u8> = VecDeque::new();
    for (path, offset) in chain.iter().skip(start).zip(std::iter::once(offset).chain(std::iter::repeat(0))) {
        let mut file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        file.seek(SeekFrom::Start(offset))?;
        for line in BufReader::new(file.take(u64::MAX)).split(b'\n') {
            let line = line?;
            let Some(entry) = cri::parse(&line) else { continue };
            kept.extend(entry.text);
            if entry.complete {
                kept.push_back(b'\n');
            }
            let surplus = kept.len().saturating_sub(bytes);
            kept.drain(..surplus);
        }
    }
    Ok(String::from_utf8_lossy(kept.make_contiguous()).into_owned())
}
