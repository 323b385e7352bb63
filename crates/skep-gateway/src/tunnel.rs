//! Moves bytes between a client and an API server until both have said everything.
//!
//! Guarantees: bytes arrive in order and unchanged; a half that is closed is closed on the other side after its last
//! byte; a reset is passed on as a reset; nothing is read that the other side has no room for, beyond one
//! [`scratch`](crate::scratch) buffer; a connection that moves nothing holds no buffer and costs nothing; what an API
//! server says while it closes ([`closing`](crate::closing)) arrives together with the end of the connection.
//!
//! What is held is read, up to one buffer, because behind unread bytes the end cannot be seen; more stays with the API
//! server until the time is over.
//!
//! Reading into one shared buffer and writing from it at once is two system calls per message, the least there is
//! without `io_uring`. `splice(2)` needs as many, and a pipe per direction: two more files and pages that idle connections
//! would keep. What it saves, a copy of large messages, is small beside the TLS at both ends.

mod half;

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::time::Sleep;

use crate::directory::{Backend, TenantStats};
use crate::socket;
use half::{Failed, Half};

/// For this long after data went to a client, a reset from its API server reaches it as an orderly end: a reset would
/// make the kernel drop what the client has not taken yet.
const UNDELIVERED: Duration = Duration::from_secs(1);

/// Bounds of a tunnel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// After the pod is gone.
    pub(crate) drain: Duration,
    /// Without traffic, after one half is closed.
    pub(crate) half_closed: Duration,
}

/// The side that is no more.
enum Broken {
    Client,
    Server,
}

/// A client with the API server that accepted its connection.
#[derive(Debug)]
pub(crate) struct Tunnel<'a> {
    client: &'a mut TcpStream,
    server: TcpStream,
    up: Half,
    down: Half,
    /// What the client said first, until the API server has answered.
    opening: Option<Vec<u8>>,
    /// The API server ended it while it was fresh.
    unanswered: bool,
    /// When bytes last went to the client.
    delivered: Option<Instant>,
    timer: Option<Timer>,
    /// The end of holding, for who moved something in that time.
    held: Option<Pin<Box<Sleep>>>,
}

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// Counts of both halves when it was set; nothing for the drain, which does not care about traffic.
    moved: Option<(u64, u64)>,
}

impl<'a> Tunnel<'a> {
    /// A tunnel whose API server has taken `sent` bytes of the opening.
    pub(crate) fn new(client: &'a mut TcpStream, server: TcpStream, opening: Vec<u8>, sent: usize) -> Self {
        let up = Half::with_pending(opening.get(sent..).unwrap_or_default());
        let (down, opening) = (Half::default(), Some(opening));
        Self {
            client,
            server,
            up,
            down,
            opening,
            unanswered: false,
            delivered: None,
            timer: None,
            held: None,
        }
    }

    /// Moves bytes until the end.
    pub(crate) async fn run(&mut self, backend: &Backend, stats: &TenantStats, patience: Patience) {
        let mut gone = pin!(backend.gone_signal().notified());
        // Registered once, as a task is always polled with the same waker; afterwards a flag is enough, which keeps a
        // lock out of every message.
        let mut registered = false;
        poll_fn(|cx| {
            if !registered {
                registered = true;
                let _ = gone.as_mut().poll(cx);
            }
            self.poll(cx, backend, stats, patience)
        })
        .await;
    }

    /// What the client said first, if the API server ended it without a byte: another one can be asked.
    pub(crate) fn unanswered(self) -> Option<Vec<u8>> {
        self.unanswered.then_some(self.opening).flatten()
    }

    /// Whether nothing but the opening went either way, so that another API server could be asked the same.
    fn is_fresh(&self) -> bool {
        self.opening.is_some() && self.down.moved() == 0 && self.up.moved() == 0 && !self.up.is_all_read()
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        backend: &Backend,
        stats: &TenantStats,
        patience: Patience,
    ) -> Poll<()> {
        let down = self.poll_down(cx, backend, stats);
        if down.is_ready() && self.is_fresh() {
            self.unanswered = true;
            return Poll::Ready(());
        }
        if self.down.moved() > 0 && self.opening.take().is_some() {
            backend.answered();
        }
        let up = self.poll_up(cx, stats);
        match (up, down) {
            // A side that is broken ends both directions; an orderly end of one waits for the other.
            (Poll::Ready(Err(Broken::Client)), _) | (_, Poll::Ready(Err(Broken::Client))) => {
                socket::reset_on_close(&self.server);
                return Poll::Ready(());
            }
            (_, Poll::Ready(Err(Broken::Server))) => {
                if self.delivered.is_none_or(|at| at.elapsed() > UNDELIVERED) {
                    socket::reset_on_close(&self.client);
                }
                return Poll::Ready(());
            }
            (Poll::Ready(_), Poll::Ready(Ok(()))) => return Poll::Ready(()),
            _ => {}
        }
        self.poll_patience(cx, backend, patience)
    }

    fn poll_up(&mut self, cx: &mut Context<'_>, stats: &TenantStats) -> Poll<Result<(), Broken>> {
        if self.up.is_over() {
            return Poll::Ready(Ok(()));
        }
        let count = |n| add(&stats.from_client, n);
        Poll::Ready(match ready!(self.up.poll(cx, self.client, &mut self.server, count)) {
            Ok(()) => {
                self.close_write(&self.server, &self.down);
                Ok(())
            }
            Err(Failed::Read) => Err(Broken::Client),
            // What the server said before it broke is still to be delivered: the other direction decides.
            Err(Failed::Write) => Ok(()),
        })
    }

    fn poll_down(
        &mut self,
        cx: &mut Context<'_>,
        backend: &Backend,
        stats: &TenantStats,
    ) -> Poll<Result<(), Broken>> {
        if self.down.is_over() {
            return Poll::Ready(Ok(()));
        }
        if let Some(until) = backend.holds() {
            ready!(self.poll_held(cx, until, stats));
        }
        if self.held.take().is_some() {
            self.delivered = Some(Instant::now());
        }
        let count = delivering(&mut self.delivered, stats);
        Poll::Ready(match ready!(self.down.poll(cx, &mut self.server, self.client, count)) {
            // Without an answer the client is not told: it may get one from another API server.
            Ok(()) if self.is_fresh() => Ok(()),
            Ok(()) => {
                self.close_write(self.client, &self.up);
                Ok(())
            }
            Err(Failed::Read) => Err(Broken::Server),
            Err(Failed::Write) => Err(Broken::Client),
        })
    }

    /// Holds what the API server says. Ready when it has said everything, or the time is over.
    fn poll_held(&mut self, cx: &mut Context<'_>, until: Instant, stats: &TenantStats) -> Poll<()> {
        let count = delivering(&mut self.delivered, stats);
        if self.down.poll_held(cx, &mut self.server, count).is_ready() {
            // The last bytes and the end go in one piece: the client cannot act between them. Without bytes it may not be
            // the end for this client.
            if self.down.moved() > 0 {
                socket::keep_with_end(&self.client);
            }
            return Poll::Ready(());
        }
        let end = || Box::pin(tokio::time::sleep_until(until.into()));
        self.held.get_or_insert_with(end).as_mut().poll(cx)
    }

    /// Passes on that one half is closed, unless both are: then closing the sockets says it.
    fn close_write(&self, to: &TcpStream, other: &Half) {
        if !other.is_over() {
            socket::close_write(to);
        }
    }

    /// Ends a tunnel whose pod is gone, or of which only one half is left without traffic, after its time.
    fn poll_patience(&mut self, cx: &mut Context<'_>, backend: &Backend, patience: Patience) -> Poll<()> {
        let gone = backend.is_gone();
        let draining = self.timer.as_ref().is_some_and(|timer| timer.moved.is_none());
        if gone && !draining {
            self.timer = Some(Timer::new(patience.drain, None));
        } else if self.timer.is_none() && (self.up.is_over() || self.down.is_over()) {
            self.timer = Some(Timer::new(patience.half_closed, Some(self.moved())));
        }
        let moved = self.moved();
        loop {
            let Some(timer) = &mut self.timer else { return Poll::Pending };
            ready!(timer.sleep.as_mut().poll(cx));
            match &mut timer.moved {
                Some(before) if *before != moved => {
                    *before = moved;
                    timer.sleep.as_mut().reset(tokio::time::Instant::now() + patience.half_closed);
                }
                _ => {
                    socket::reset_on_close(&self.server);
                    return Poll::Ready(());
                }
            }
        }
    }

    fn moved(&self) -> (u64, u64) {
        (self.up.moved(), self.down.moved())
    }
}

impl Timer {
    fn new(after: Duration, moved: Option<(u64, u64)>) -> Self {
        Self { sleep: Box::pin(tokio::time::sleep(after)), moved }
    }
}

/// Counts bytes that go to the client.
fn delivering(delivered: &mut Option<Instant>, stats: &TenantStats) -> impl FnMut(usize) {
    move |n| {
        *delivered = Some(Instant::now());
        add(&stats.to_client, n);
    }
}

fn add(counter: &AtomicU64, bytes: usize) {
    counter.fetch_add(u64::try_from(bytes).unwrap_or(0), Ordering::Relaxed);
}

#[cfg(test)]
mod tests;
