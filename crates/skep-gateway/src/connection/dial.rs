//! Connects to an API server and says the first bytes. They are only sent once it has accepted.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::Timeouts;
use crate::socket;

/// A connection and how much of the opening went into it.
pub(super) async fn dial(
    address: SocketAddr,
    opening: &[u8],
    timeouts: &Timeouts,
) -> io::Result<(TcpStream, usize)> {
    let socket = socket::connect(address, timeouts.keepalive)?;
    // Try to write at once: on one machine the connection is made by now, which saves a turn of the event loop.
    match socket::send(&socket, opening) {
        Ok(sent) => Ok((TcpStream::from_std(socket.into())?, sent)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Box::pin(timeout(timeouts.dial, accepted(socket, opening))).await?
        }
        Err(error) => Err(error),
    }
}

/// Waits until the other side has accepted, then writes.
async fn accepted(socket: OwnedFd, opening: &[u8]) -> io::Result<(TcpStream, usize)> {
    let stream = TcpStream::from_std(socket.into())?;
    loop {
        stream.writable().await?;
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.try_write(opening) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            written => return Ok((stream, written?)),
        }
    }
}
