//! Copies between a socket and a stream of the tunnel, for both sides.
//!
//! Guarantees: bytes arrive in order and unchanged; a half that is closed is closed on the other side after its last byte;
//! what was said before an abnormal end arrives, then the end; a reader that stops stops its writer after
//! [`STREAM_WINDOW`](super::wire::STREAM_WINDOW) and one [`CHUNK`]; a stream of which one half is closed ends after a
//! while without traffic.
//!
//! An abnormal end is a reset of the stream. It is left to the drop of the stream's handles: that sends what was queued
//! before it, an explicit reset would drop it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, sleep_until};

use super::wire::CHUNK;

/// A stream of the tunnel, both directions.
#[derive(Debug)]
pub struct Stream {
    /// Towards the other side.
    pub send: SendStream<Bytes>,
    /// From the other side.
    pub receive: RecvStream,
}

/// Why a stream did not end in order.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// The socket failed.
    #[error("socket: {0}")]
    Socket(#[from] io::Error),
    /// The stream was reset, or the tunnel under it is gone.
    #[error("tunnel: {0}")]
    Tunnel(#[from] h2::Error),
    /// One half is closed and nothing came on the other for too long.
    #[error("nothing came after one side had said everything")]
    HalfClosed,
}

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the socket into the tunnel.
    In,
    /// Out of the tunnel to the socket.
    Out,
}

/// Copies until both sides have said everything, or one of them wants to hear no more.
///
/// `half_closed` is how long a half that is left alone goes on without traffic; `count` is told of everything that was
/// moved.
///
/// # Errors
/// It did not end in order; the other side learns it, and the socket is to be reset.
pub async fn relay<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut S,
    stream: Stream,
    half_closed: Duration,
    count: impl Fn(Direction, usize),
) -> Result<(), Broken> {
    let Stream { send, receive } = stream;
    let (reader, writer) = tokio::io::split(socket);
    let moved = AtomicU64::new(0);
    let note = |direction, bytes| {
        moved.fetch_add(1, Ordering::Relaxed);
        count(direction, bytes);
    };
    let mut inward = pin!(inward(reader, send, |n| note(Direction::In, n)));
    let mut outward = pin!(outward(writer, receive, |n| note(Direction::Out, n)));
    tokio::select! {
        done = &mut inward => {
            done?;
            match last(outward, half_closed, &moved).await {
                // The socket has said everything and hears no more: it is closed.
                Err(Broken::Socket(_)) => Ok(()),
                other => other,
            }
        }
        done = &mut outward => {
            done?;
            last(inward, half_closed, &moved).await
        }
    }
}

/// The direction that is left, while something moves.
async fn last(
    mut direction: Pin<&mut impl Future<Output = Result<(), Broken>>>,
    half_closed: Duration,
    moved: &AtomicU64,
) -> Result<(), Broken> {
    let look = || moved.load(Ordering::Relaxed);
    let mut before = look();
    let mut end = pin!(sleep_until(Instant::now() + half_closed));
    loop {
        tokio::select! {
            done = &mut direction => return done,
            () = &mut end => {
                let now = look();
                if std::mem::replace(&mut before, now) == now {
                    return Err(Broken::HalfClosed);
                }
                end.as_mut().reset(Instant::now() + half_closed);
            }
        }
    }
}

/// Socket to stream. Reads only when the other side has room for at least a byte; what does not fit into its window of
/// one chunk waits with the stream.
async fn inward(
    mut reader: impl AsyncRead + Unpin,
    mut send: SendStream<Bytes>,
    count: impl Fn(usize),
) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        if !room(&mut send).await? {
            return Ok(());
        }
        buffer.reserve(CHUNK);
        let read = tokio::select! {
            read = reader.read_buf(&mut buffer) => read?,
            // Heard while nothing is read: it is how the other side says that nobody listens any more.
            reset = poll_fn(|cx| send.poll_reset(cx)) => return in_order(reset?),
        };
        if read == 0 {
            send.send_data(Bytes::new(), true)?;
            return Ok(());
        }
        send.send_data(buffer.split().freeze(), false)?;
        count(read);
    }
}

/// Waits until the other side takes a byte; false if it wants no more, in order.
async fn room(send: &mut SendStream<Bytes>) -> Result<bool, Broken> {
    send.reserve_capacity(1);
    while send.capacity() == 0 {
        match poll_fn(|cx| send.poll_capacity(cx)).await {
            Some(more) => drop(more?),
            None => return in_order(poll_fn(|cx| send.poll_reset(cx)).await?).map(|()| false),
        }
    }
    Ok(true)
}

/// A reset without an error says that the other side has said everything and needs no more (RFC 9113, section 8.1).
fn in_order(reason: Reason) -> Result<(), Broken> {
    if reason == Reason::NO_ERROR { Ok(()) } else { Err(Broken::Tunnel(reason.into())) }
}

/// Stream to socket. Room is given back to the other side when the socket has taken the bytes.
async fn outward(
    mut writer: impl AsyncWrite + Unpin,
    mut receive: RecvStream,
    count: impl Fn(usize),
) -> Result<(), Broken> {
    while let Some(bytes) = receive.data().await {
        let bytes = bytes?;
        writer.write_all(&bytes).await?;
        // TLS keeps what its socket did not take.
        writer.flush().await?;
        receive.flow_control().release_capacity(bytes.len())?;
        count(bytes.len());
    }
    writer.shutdown().await?;
    Ok(())
}

#[cfg(test)]
mod tests;
