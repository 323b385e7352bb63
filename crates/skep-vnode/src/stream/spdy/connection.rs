//! One SPDY connection: a task that reads, a task that writes, and streams for whoever serves them.
//!
//! The reader waits when a stream's queue is full, which in turn makes the peer wait: nothing is buffered beyond
//! [`QUEUE`](crate::stream::QUEUE) chunks per stream. Dropping a [`Connection`] or its last handle ends both tasks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::frame::{Command, Event, FrameReader, FrameWriter, ResetStatus};
use super::headers::Headers;
use crate::stream::QUEUE;

/// Streams open at once in one connection. `kubectl exec` opens five, every forwarded TCP connection two.
const MAX_STREAMS: usize = 128;
/// Without a frame for this long the peer is gone (the kubelet's `streamingConnectionIdleTimeout`).
const IDLE: Duration = Duration::from_secs(4 * 3600);
/// What is still to be written when the serving side is done gets this long.
const LINGER: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Entry {
    input: Option<mpsc::Sender<Bytes>>,
    reset: CancellationToken,
}

#[derive(Default)]
struct Streams(Mutex<HashMap<u32, Entry>>);

impl Streams {
    fn with<T>(&self, f: impl FnOnce(&mut HashMap<u32, Entry>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The serving end of a connection.
pub struct Connection {
    incoming: mpsc::Receiver<Stream>,
    commands: mpsc::Sender<Command>,
    closed: CancellationToken,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

impl Connection {
    /// Serves `io`. A stream is accepted when `admit` likes its headers and refused otherwise.
    pub fn serve<IO>(io: IO, admit: fn(&Headers) -> bool) -> Self
    where
        IO: AsyncRead + AsyncWrite + Send + 'static,
    {
        let (read, write) = tokio::io::split(io);
        let (opened, incoming) = mpsc::channel(QUEUE);
        let (commands, queue) = mpsc::channel(QUEUE);
        let closed = CancellationToken::new();
        let reader = Reader { streams: Arc::default(), opened, commands: commands.clone(), admit, last: 0 };
        let ended = closed.clone();
        let reader = tokio::spawn(async move {
            let _guard = ended.clone().drop_guard();
            tokio::select! {
                () = reader.run(FrameReader::new(read)) => {}
                () = ended.cancelled() => {}
            }
        });
        let writer = tokio::spawn(write_frames(write, queue, closed.clone()));
        Self { incoming, commands, closed, reader, writer }
    }

    /// The next stream the peer opens; `None` when it opens no more.
    pub async fn accept(&mut self) -> Option<Stream> {
        self.incoming.recv().await
    }

    /// Cancelled when the connection is gone.
    #[must_use]
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Writes what is queued, says goodbye and waits until the peer closes, at most a few seconds. Closing first would
    /// reset the connection while the peer still sends, and the peer would lose what it has not read yet.
    pub async fn close(mut self) {
        // Nobody serves further streams; without a receiver the reader would stop at the next one.
        let (commands, mut incoming) =
            (self.commands.clone(), std::mem::replace(&mut self.incoming, mpsc::channel(1).1));
        let farewell = async {
            let _ = commands.send(Command::GoAway { last: 0 }).await;
            let _ = (&mut self.writer).await;
            let ignore = async { while incoming.recv().await.is_some() {} };
            let _ = tokio::join!(&mut self.reader, ignore);
        };
        let _ = tokio::time::timeout(LINGER, farewell).await;
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

async fn write_frames<W>(mut to: W, mut queue: mpsc::Receiver<Command>, closed: CancellationToken)
where
    W: AsyncWrite + Unpin,
{
    let mut guard = Some(closed.clone().drop_guard());
    let mut encoder = FrameWriter::new();
    loop {
        let command = tokio::select! {
            command = queue.recv() => command,
            () = closed.cancelled() => None,
        };
        let Some(command) = command else { break };
        let last = matches!(command, Command::GoAway { .. });
        let (head, data) = encoder.encode(command);
        let written = async {
            to.write_all(&head).await?;
            if let Some(data) = data {
                to.write_all(&data).await?;
            }
            to.flush().await
        };
        // A peer that went away while the write waits must not hold this task.
        let failed = tokio::select! {
            result = written => result.is_err(),
            () = closed.cancelled() => true,
        };
        if failed {
            break;
        }
        if last {
            // The reader goes on until the peer has closed.
            guard.take().map(DropGuard::disarm);
            break;
        }
    }
    let _ = tokio::time::timeout(LINGER, to.shutdown()).await;
}

struct Reader {
    streams: Arc<Streams>,
    opened: mpsc::Sender<Stream>,
    commands: mpsc::Sender<Command>,
    admit: fn(&Headers) -> bool,
    last: u32,
}

impl Reader {
    async fn run<R: AsyncRead + Unpin>(mut self, mut frames: FrameReader<R>) {
        loop {
            let event = match tokio::time::timeout(IDLE, frames.next()).await {
                Ok(Ok(Some(event))) => event,
                Ok(Err(error)) => {
                    tracing::debug!(%error, "SPDY connection ended");
                    break;
                }
                Ok(Ok(None)) | Err(_) => break,
            };
            if self.handle(event).await.is_err() {
                break;
            }
        }
        self.streams.with(|streams| {
            for entry in streams.drain().map(|(_, entry)| entry) {
                entry.reset.cancel();
            }
        });
    }

    /// `Err` when nobody serves this connection any more.
    async fn handle(&mut self, event: Event) -> Result<(), ()> {
        match event {
            Event::Open { id, fin, headers } => return self.open(id, fin, headers).await,
            Event::Data { id, fin, data } => {
                let input =
                    self.streams.with(|streams| streams.get(&id).and_then(|entry| entry.input.clone()));
                if let Some(input) = input
                    && !data.is_empty()
                {
                    // An error means that nobody reads this stream any more; the peer finds out by its reset.
                    let _ = input.send(data).await;
                }
                if fin {
                    self.streams.with(|streams| streams.get_mut(&id).map(|entry| entry.input.take()));
                }
            }
            Event::Reset { id } => {
                if let Some(entry) = self.streams.with(|streams| streams.remove(&id)) {
                    entry.reset.cancel();
                }
            }
            // Even ids answer pings of ours, which are never sent.
            Event::Ping { id } if id % 2 == 1 => {
                return self.commands.send(Command::Pong { id }).await.map_err(drop);
            }
            Event::GoAway => return Err(()),
            Event::Ping { .. } | Event::Ignored => {}
        }
        Ok(())
    }

    async fn open(&mut self, id: u32, fin: bool, headers: Headers) -> Result<(), ()> {
        let full = self.streams.with(|streams| streams.len() >= MAX_STREAMS);
        let refused = if id.is_multiple_of(2) || id <= self.last {
            Some(ResetStatus::Protocol)
        } else if full || !(self.admit)(&headers) {
            Some(ResetStatus::Refused)
        } else {
            None
        };
        self.last = self.last.max(id);
        if let Some(status) = refused {
            return self.commands.send(Command::Reset { id, status }).await.map_err(drop);
        }
        let (input, chunks) = mpsc::channel(QUEUE);
        let reset = CancellationToken::new();
        let entry = Entry { input: (!fin).then_some(input), reset: reset.clone() };
        self.streams.with(|streams| streams.insert(id, entry));
        let writer = StreamWriter {
            id,
            commands: self.commands.clone(),
            streams: self.streams.clone(),
            reset,
            finished: false,
        };
        self.commands.send(Command::Accept { id }).await.map_err(drop)?;
        self.opened.send(Stream { headers, chunks, writer }).await.map_err(drop)
    }
}

/// A stream the peer opened.
pub struct Stream {
    /// What the peer said about it.
    pub headers: Headers,
    /// What it sends; ends when it closes its side.
    pub chunks: mpsc::Receiver<Bytes>,
    /// The way back.
    pub writer: StreamWriter,
}

impl Stream {
    /// The peer's number for it: odd and rising.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.writer.id
    }
}

/// The sending half of a stream. Dropping it without [`finish`](Self::finish) resets the stream.
pub struct StreamWriter {
    id: u32,
    commands: mpsc::Sender<Command>,
    streams: Arc<Streams>,
    reset: CancellationToken,
    finished: bool,
}

impl StreamWriter {
    /// Queues `data`, waiting while the peer does not read. `false` when the stream or the connection is gone.
    pub async fn send(&self, data: Bytes) -> bool {
        self.command(Command::Data { id: self.id, fin: false, data }).await
    }

    /// Closes this direction: the peer reads what was sent and then the end.
    pub async fn finish(mut self) {
        self.finished = true;
        self.command(Command::Data { id: self.id, fin: true, data: Bytes::new() }).await;
    }

    /// Cancelled when the peer reset the stream or the connection is gone.
    #[must_use]
    pub fn reset(&self) -> &CancellationToken {
        &self.reset
    }

    async fn command(&self, command: Command) -> bool {
        tokio::select! {
            sent = self.commands.send(command) => sent.is_ok(),
            () = self.reset.cancelled() => false,
        }
    }
}

impl Drop for StreamWriter {
    fn drop(&mut self) {
        self.streams.with(|streams| streams.remove(&self.id));
        if !self.finished && !self.reset.is_cancelled() {
            // Best effort: with a full queue the connection is about to end anyway.
            let _ = self.commands.try_send(Command::Reset { id: self.id, status: ResetStatus::Cancel });
        }
    }
}
