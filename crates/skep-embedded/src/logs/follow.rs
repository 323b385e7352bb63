//! Following a file that another process appends to and sometimes empties.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

/// Most bytes of one piece.
const PIECE: u64 = 64 << 10;
/// Room for several events; one without a name takes 16 bytes.
const EVENTS: usize = 1024;

/// Hands out what is appended to a file, as the kernel tells about it.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    offset: u64,
    // A descriptor of inotify is read like a pipe; what the events say does not matter, only that there are some.
    events: Receiver,
}

impl Follower {
    /// Follows `path`, which must exist, from `offset` on.
    ///
    /// # Errors
    /// What the system says.
    pub fn new(path: &Path, offset: u64) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        inotify.add_watch(path, AddWatchFlags::IN_MODIFY)?;
        let events = Receiver::from_owned_fd_unchecked(inotify.into())?;
        Ok(Self { path: path.to_owned(), offset, events })
    }

    /// The next piece, at least one byte. Cancel safe.
    ///
    /// # Errors
    /// What the system says, also when the file is gone.
    pub async fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            // First look, then wait: what came before the watch was set is not told about.
            let piece = self.read()?;
            if !piece.is_empty() {
                return Ok(piece);
            }
            // What happened does not matter, only that something did: any amount is enough.
            let _read = self.events.read(&mut [0; EVENTS]).await?;
        }
    }

    fn read(&mut self) -> io::Result<Vec<u8>> {
        let mut file = File::open(&self.path)?;
        let length = file.metadata()?.len();
        if length < self.offset {
            // Rotated: the file was emptied.
            self.offset = 0;
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut piece = Vec::new();
        file.take(PIECE).read_to_end(&mut piece)?;
        self.offset += piece.len() as u64;
        Ok(piece)
    }
}
