//! The socket by which `skep status`, `skep down` and a second `skep up` talk to the supervisor.
//!
//! One line in, snapshots as JSON lines out: `watch` sends every change until the end, `stop` does the same and begins
//! to stop. The socket is in the data directory (mode 0700), so only its owner reaches it. Bounded: connections, the
//! length of a request, the time it may take to come, and a reader that does not read is dropped.

use std::{
    fs::{self, File},
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::Semaphore,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Layout, Result,
    board::{Board, Phase, Snapshot},
};

const NAME: &str = "control.sock";
/// Watchers at a time; each is one terminal.
const CONNECTIONS: usize = 32;
/// Longest request line, in bytes.
const MAX_REQUEST: u64 = 256;
/// For a request to come and for a snapshot to be taken by the reader.
const PATIENCE: Duration = Duration::from_secs(10);

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Request {
    /// Snapshots until the end.
    Watch,
    /// The same, and stop everything.
    Stop,
}

/// Listens on the control socket of a data directory.
#[derive(Debug)]
pub struct Server {
    listener: UnixListener,
    path: PathBuf,
}

impl Server {
    /// Takes the socket over from a supervisor that is gone. Only for the holder of the lock.
    ///
    /// # Errors
    /// [`Error::DataDir`] when it cannot be made.
    pub fn bind(layout: &Layout) -> Result<Self> {
        let dir = layout.run();
        let path = dir.join(NAME);
        let bind = || {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            with_short_path(&dir, |short| UnixListener::bind(short))
        };
        let listener = bind().map_err(|source| Error::io(&path, source))?;
        Ok(Self { listener, path })
    }

    /// Answers until `end`. `stop` is cancelled when a client asks for it.
    pub async fn run(self, board: Board, stop: CancellationToken, end: CancellationToken) {
        let permits = Arc::new(Semaphore::new(CONNECTIONS));
        let tasks = tokio_util::task::TaskTracker::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                () = end.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    // Too many watchers: the connection is closed, the client says so.
                    if let Ok(permit) = Arc::clone(&permits).try_acquire_owned() {
                        let (board, stop) = (board.clone(), stop.clone());
                        tasks.spawn(async move {
                            if let Err(error) = serve(stream, board, stop).await {
                                tracing::debug!(%error, "control connection");
                            }
                            drop(permit);
                        });
                    }
                }
                // Out of file descriptors: the pause keeps this from spinning.
                Err(error) => {
                    tracing::warn!(%error, "control socket");
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            }
        }
        tasks.close();
        let _ = timeout(PATIENCE, tasks.wait()).await;
        let _ = fs::remove_file(&self.path);
    }
}

async fn serve(stream: UnixStream, board: Board, stop: CancellationToken) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    timeout(PATIENCE, BufReader::new(read.take(MAX_REQUEST)).read_line(&mut line)).await??;
    let mut watch = board.watch();
    if serde_json::from_str::<Request>(line.trim())? == Request::Stop {
        tracing::info!("asked to stop");
        stop.cancel();
    }
    loop {
        let snapshot = watch.borrow_and_update().clone();
        send(&mut write, &snapshot).await?;
        if snapshot.ended() || watch.changed().await.is_err() {
            return Ok(());
        }
    }
}

async fn send(write: &mut OwnedWriteHalf, snapshot: &Snapshot) -> io::Result<()> {
    let mut text = serde_json::to_vec(snapshot)?;
    text.push(b'\n');
    timeout(PATIENCE, write.write_all(&text)).await?
}

impl Snapshot {
    /// Nothing more will come.
    pub fn ended(&self) -> bool {
        matches!(self.phase, Phase::Stopped | Phase::Failed)
    }
}

/// A connection to a running supervisor.
#[derive(Debug)]
pub struct Client {
    lines: Lines<BufReader<OwnedReadHalf>>,
    // Kept open: its end would be read as "the client has gone".
    _write: OwnedWriteHalf,
}

impl Client {
    /// Connects and asks for snapshots; `None` when nothing listens.
    ///
    /// # Errors
    /// [`Error::DataDir`] when the socket is there but not usable.
    pub async fn watch(layout: &Layout) -> Result<Option<Self>> {
        Self::connect(layout, Request::Watch).await
    }

    /// The same, and asks it to stop.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub async fn stop(layout: &Layout) -> Result<Option<Self>> {
        Self::connect(layout, Request::Stop).await
    }

    async fn connect(layout: &Layout, request: Request) -> Result<Option<Self>> {
        let dir = layout.run();
        let fail = |source| Error::io(dir.join(NAME), source);
        let stream = match with_short_path(&dir, |short| std::os::unix::net::UnixStream::connect(short)) {
            Ok(stream) => stream,
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(fail(error)),
        };
        stream.set_nonblocking(true).map_err(fail)?;
        let (read, mut write) = UnixStream::from_std(stream).map_err(fail)?.into_split();
        let mut text = serde_json::to_vec(&request).map_err(|error| fail(error.into()))?;
        text.push(b'\n');
        // It is just going: the same as not being there.
        if write.write_all(&text).await.is_err() {
            return Ok(None);
        }
        Ok(Some(Self { lines: BufReader::new(read).lines(), _write: write }))
    }

    /// The next snapshot; `None` when the supervisor has gone.
    pub async fn next(&mut self) -> Option<Snapshot> {
        let line = self.lines.next_line().await.ok().flatten()?;
        serde_json::from_str(&line).ok()
    }
}

/// Calls `with` with a path of the socket that is short however long the data directory's is: the kernel allows 107
/// bytes in a socket address (`sun_path`), a directory may be longer.
fn with_short_path<T>(dir: &Path, with: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let open = File::open(dir)?;
    with(Path::new(&format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::Health;

    struct Running {
        _dir: tempfile::TempDir,
        layout: Layout,
        board: Board,
        stop: CancellationToken,
        end: CancellationToken,
    }

    fn start() -> Running {
        let dir = tempfile::tempdir().unwrap();
        // Longer than a socket address can be.
        let deep = dir.path().join("d".repeat(120));
        let layout = Layout::resolve(Some(&deep)).unwrap();
        layout.prepare().unwrap();
        let board = Board::new(deep);
        let (stop, end) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(Server::bind(&layout).unwrap().run(board.clone(), stop.clone(), end.clone()));
        Running { _dir: dir, layout, board, stop, end }
    }

    #[tokio::test]
    async fn a_watcher_sees_every_state_until_the_end() {
        let running = start();
        let mut client = Client::watch(&running.layout).await.unwrap().unwrap();
        assert_eq!(client.next().await.unwrap().phase, Phase::Starting);
        running.board.component("etcd", Health::Running, Some(1), 0, None);
        assert_eq!(client.next().await.unwrap().components.len(), 1);
        running.board.phase(Phase::Stopped);
        assert_eq!(client.next().await.unwrap().phase, Phase::Stopped);
        assert_eq!(client.next().await, None);
        assert!(!running.stop.is_cancelled());
    }

    #[tokio::test]
    async fn stop_is_passed_on() {
        let running = start();
        let mut client = Client::stop(&running.layout).await.unwrap().unwrap();
        client.next().await.unwrap();
        running.stop.cancelled().await;
    }

    #[tokio::test]
    async fn nobody_there_is_not_an_error() {
        let running = start();
        running.board.phase(Phase::Stopped);
        running.end.cancel();
        while Client::watch(&running.layout).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
        // A socket without a listener, as a killed supervisor leaves it.
        drop(Server::bind(&running.layout).unwrap());
        assert!(running.layout.run().join(NAME).exists());
        assert!(Client::watch(&running.layout).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn nonsense_is_refused_without_a_word() {
        let running = start();
        let mut stream =
            with_short_path(&running.layout.run(), |short| std::os::unix::net::UnixStream::connect(short))
                .map(|stream| {
                    stream.set_nonblocking(true).unwrap();
                    UnixStream::from_std(stream).unwrap()
                })
                .unwrap();
        stream.write_all(&[b'x'; 4096]).await.ok();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok();
        assert!(answer.is_empty());
        assert!(!running.stop.is_cancelled());
    }
}
