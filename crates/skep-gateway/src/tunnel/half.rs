//! One direction of a tunnel.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::scratch;

/// Reads in one turn before others on the thread get theirs.
const TURN: usize = 16;

/// Where a direction broke.
#[derive(Debug)]
pub(super) enum Failed {
    /// At the side that speaks.
    Read,
    /// At the side that listens.
    Write,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    Open,
    /// Everything was read; something may be unwritten.
    Read,
    /// The speaking side broke; something may be unwritten.
    Cut,
    /// Everything was written.
    Ended,
    /// The listening side takes nothing more.
    Broken,
}

/// One direction: what was read and not written, and how far it is.
#[derive(Debug, Default)]
pub(super) struct Half {
    /// What the other side could not take, or may not have yet. Empty, without memory, nearly always.
    pending: Vec<u8>,
    /// How much of `pending` is written.
    at: usize,
    moved: u64,
    state: State,
}

impl Half {
    /// A direction that begins with bytes it did not read itself.
    pub(super) fn with_pending(bytes: &[u8]) -> Self {
        Self { pending: bytes.to_vec(), ..Self::default() }
    }

    /// Bytes read.
    pub(super) fn moved(&self) -> u64 {
        self.moved
    }

    /// Whether nothing more will be moved.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.state, State::Ended | State::Broken)
    }

    /// Whether the speaking side has said everything.
    pub(super) fn is_all_read(&self) -> bool {
        matches!(self.state, State::Read | State::Ended)
    }

    /// Moves what can be moved. Ready at the end, and not to be called again then.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        mut count: impl FnMut(usize),
    ) -> Poll<Result<(), Failed>> {
        for _ in 0..TURN {
            ready!(self.poll_pending(cx, to))?;
            match self.state {
                State::Read => {
                    self.state = State::Ended;
                    return Poll::Ready(Ok(()));
                }
                State::Cut => return Poll::Ready(Err(Failed::Read)),
                State::Open | State::Ended | State::Broken => {}
            }
            ready!(scratch::with(|buffer| self.poll_through(cx, from, to, buffer, &mut count)))?;
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads without passing on, up to what one buffer takes. Ready when the speaking side has said everything or is no
    /// more: then [`poll`](Self::poll) has all that is left to pass on.
    pub(super) fn poll_held(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        mut count: impl FnMut(usize),
    ) -> Poll<()> {
        while self.state == State::Open {
            self.pending.drain(..std::mem::take(&mut self.at));
            let room = scratch::SIZE.saturating_sub(self.pending.len());
            if room == 0 {
                return Poll::Pending;
            }
            ready!(scratch::with(|buffer| {
                let mut buffer = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
                let read = ready!(Pin::new(&mut *from).poll_read(cx, &mut buffer));
                self.state = match (read, buffer.filled()) {
                    (Err(_), _) => State::Cut,
                    (Ok(()), []) => State::Read,
                    (Ok(()), read) => {
                        self.moved += u64::try_from(read.len()).unwrap_or(0);
                        count(read.len());
                        self.pending.extend_from_slice(read);
                        State::Open
                    }
                };
                Poll::Ready(())
            }));
        }
        Poll::Ready(())
    }

    /// Writes what an earlier turn could not.
    fn poll_pending(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<Result<(), Failed>> {
        while let Some(rest) = self.pending.get(self.at..).filter(|rest| !rest.is_empty()) {
            let written = ready!(self.written(Pin::new(&mut *to).poll_write(cx, rest)))?;
            self.at += written;
        }
        (self.pending, self.at) = (Vec::new(), 0);
        Poll::Ready(Ok(()))
    }

    /// One read, and one write of what it gave.
    fn poll_through(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut (impl AsyncRead + Unpin),
        to: &mut (impl AsyncWrite + Unpin),
        buffer: &mut [u8],
        count: &mut impl FnMut(usize),
    ) -> Poll<Result<(), Failed>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(from).poll_read(cx, &mut buffer)).map_err(|_| Failed::Read)?;
        let read = buffer.filled();
        if read.is_empty() {
            self.state = State::Read;
            return Poll::Ready(Ok(()));
        }
        self.moved += u64::try_from(read.len()).unwrap_or(0);
        count(read.len());
        let written = match Pin::new(to).poll_write(cx, read) {
            Poll::Pending => 0,
            ready => match self.written(ready) {
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            },
        };
        if let Some(rest) = read.get(written..).filter(|rest| !rest.is_empty()) {
            self.pending = rest.to_vec();
        }
        Poll::Ready(Ok(()))
    }

    /// A write that takes nothing, or fails, is the end of this direction.
    fn written(&mut self, result: Poll<io::Result<usize>>) -> Poll<Result<usize, Failed>> {
        result.map(|result| match result {
            Ok(written) if written > 0 => Ok(written),
            Ok(_) | Err(_) => {
                self.state = State::Broken;
                self.pending = Vec::new();
                Err(Failed::Write)
            }
        })
    }
}

#[cfg(test)]
mod tests;
