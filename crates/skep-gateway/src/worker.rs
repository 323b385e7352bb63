//! A thread that accepts connections and moves their bytes.
//!
//! Every worker has an event loop of its own, and a connection stays on one: no lock and no wake-up of another thread
//! is on the way of a byte. All accept from the same socket; a connection is handed to the worker with the fewest, so
//! that a few long ones do not gather on one core. (A socket per worker with `SO_REUSEPORT` would spread them by
//! chance, and would let another process of the same user take part of the traffic.)

use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::rejection::Rejection;
use crate::shared::{Seat, Shared};
use crate::{connection, socket};

/// Connections accepted before others on the thread get their turn.
const BATCH: usize = 64;
/// Connections that may be on their way to a worker. When it is full, they stay with whom accepted them.
const INBOX: usize = 1024;
/// Pause when the system has no file or memory for another connection. Nothing tells when it has again.
const EXHAUSTED: Duration = Duration::from_millis(20);

/// A connection on its way to its worker.
type Accepted = (OwnedFd, SocketAddr, Seat);

/// What all workers of a gateway are given.
pub(crate) struct Crew {
    pub(crate) shared: Arc<Shared>,
    pub(crate) listeners: Vec<OwnedFd>,
    /// No new connections.
    pub(crate) closing: CancellationToken,
    /// No connections.
    pub(crate) stop: CancellationToken,
}

/// A running thread; resolves when it has ended, with why if it was not told to.
pub(crate) type Running = oneshot::Receiver<io::Result<()>>;

struct Worker {
    index: usize,
    shared: Arc<Shared>,
    /// Duplicates of the listening sockets; the last worker to close its own closes the ports.
    listeners: Vec<OwnedFd>,
    inbox: mpsc::Receiver<Accepted>,
    others: Arc<[mpsc::Sender<Accepted>]>,
    closing: CancellationToken,
    stop: CancellationToken,
}

impl Crew {
    /// Starts all workers; on failure those that run are told to stop.
    pub(crate) fn start(self) -> Result<Vec<Running>, (usize, io::Error)> {
        let count = self.shared.config.worker_count();
        let (others, inboxes): (Vec<_>, Vec<_>) = (0..count).map(|_| mpsc::channel(INBOX)).unzip();
        let others: Arc<[_]> = others.into();
        let mut running = Vec::with_capacity(count);
        for (index, inbox) in inboxes.into_iter().enumerate() {
            let listeners: io::Result<Vec<_>> = self.listeners.iter().map(OwnedFd::try_clone).collect();
            let started = listeners.and_then(|listeners| {
                let (shared, others) = (self.shared.clone(), others.clone());
                let (closing, stop) = (self.closing.clone(), self.stop.clone());
                Worker { index, shared, listeners, inbox, others, closing, stop }.start()
            });
            running.push(started.map_err(|error| {
                self.stop.cancel();
                (index, error)
            })?);
        }
        Ok(running)
    }
}

impl Worker {
    fn start(self) -> io::Result<Running> {
        let (ended, running) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name(format!("skep-gw-{}", self.index)).spawn(move || {
            let result = runtime.block_on(self.run());
            // Dropping the runtime closes what is still open; only then it has ended.
            drop(runtime);
            let _ = ended.send(result);
        })?;
        Ok(running)
    }

    async fn run(self) -> io::Result<()> {
        let Self { index, shared, listeners, mut inbox, others, closing, stop } = self;
        let desk = Desk { index, shared, others };
        // Only waited on, never read: the runtime has no safe way to watch a socket from which something else than its
        // own streams is to be accepted.
        let watched = listeners.into_iter().map(|listener| TcpStream::from_std(listener.into()));
        let listeners = watched.collect::<io::Result<Vec<_>>>()?;
        let mut turn = 0;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = closing.cancelled() => break,
                Some(accepted) = inbox.recv() => serve(accepted),
                ready = readable(&listeners, turn) => {
                    let ready = ready?;
                    if let Some(listener) = listeners.get(ready) {
                        desk.accept(listener).await;
                    }
                    turn = ready + 1;
                }
            }
        }
        // Closing a socket would reset what waits in its queue: take it.
        for listener in listeners {
            while let Ok((socket, source)) = socket::accept(&listener) {
                desk.admit(socket, source);
            }
        }
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(accepted) = inbox.recv() => serve(accepted),
            }
        }
    }
}

/// The first listener with a connection, beginning with `turn`: one that always has some does not stop the others.
async fn readable(listeners: &[TcpStream], turn: usize) -> io::Result<usize> {
    let count = listeners.len().max(1);
    poll_fn(|cx| {
        for index in (turn..turn + count).map(|index| index % count) {
            let Some(listener) = listeners.get(index) else { continue };
            if let Poll::Ready(ready) = listener.poll_read_ready(cx) {
                return Poll::Ready(ready.map(|()| index));
            }
        }
        Poll::Pending
    })
    .await
}

/// Takes connections in and says where they live.
struct Desk {
    index: usize,
    shared: Arc<Shared>,
    others: Arc<[mpsc::Sender<Accepted>]>,
}

impl Desk {
    async fn accept(&self, listener: &TcpStream) {
        for _ in 0..BATCH {
            match listener.try_io(Interest::READABLE, || socket::accept(listener)) {
                Ok((socket, source)) => self.admit(socket, source),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    self.shared.accept_errors.fetch_add(1, Ordering::Relaxed);
                    if !is_of_one_connection(&error) {
                        tracing::warn!(%error, "cannot accept connections for the moment");
                        return tokio::time::sleep(EXHAUSTED).await;
                    }
                }
            }
        }
        tokio::task::yield_now().await;
    }

    fn admit(&self, socket: OwnedFd, source: SocketAddr) {
        let permit = match self.shared.admit(source) {
            Ok(permit) => permit,
            Err(reason) => return self.turn_away(socket, source, reason),
        };
        // Counted before it is on its way, so that the next one of a burst sees it.
        let seat = self.shared.seat(self.index, permit);
        let place = seat.worker();
        let accepted = (socket, source, seat);
        if place == self.index {
            return serve(accepted);
        }
        match self.others.get(place).map(|other| other.try_send(accepted)) {
            Some(Err(mpsc::error::TrySendError::Full(back) | mpsc::error::TrySendError::Closed(back))) => {
                let (socket, source, mut seat) = back;
                seat.move_to(self.index);
                serve((socket, source, seat));
            }
            Some(Ok(())) | None => {}
        }
    }

    /// Closes at once: under a flood not even an alert is spent.
    fn turn_away(&self, socket: OwnedFd, source: SocketAddr, reason: Rejection) {
        self.shared.count_rejected(reason);
        tracing::debug!(%source, reason = reason.label(), code = reason.code(), "connection refused");
        socket::reset_on_close(&socket);
    }
}

/// Begins a connection on this thread.
fn serve((socket, source, seat): Accepted) {
    tokio::spawn(connection::serve(seat, socket, source));
}

/// Whether an error of `accept` is about the connection it would have returned, not about this process (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionAborted
            | Kind::ConnectionReset
            | Kind::Interrupted
            | Kind::PermissionDenied
            | Kind::TimedOut
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
    )
}
