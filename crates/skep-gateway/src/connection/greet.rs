//! Reads the greeting of a new connection within its bounds of time, size and number.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Client;
use crate::greeting::{Greeter, Greeting, HeaderRule};
use crate::rejection::Rejection;
use crate::scratch;
use crate::shared::Shared;
use crate::socket;

/// What the client said, or why that is refused. There is no client left when it cannot even be told.
pub(super) type Greeted = Result<(Client, Box<Greeting>), (Option<Client>, Rejection)>;

/// Reads what the client says first.
pub(super) async fn greet(shared: &Shared, socket: OwnedFd, source: SocketAddr) -> Greeted {
    let Some(_permit) = shared.handshakes.enter() else {
        return Err((Some(Client::New(socket)), Rejection::Handshakes));
    };
    let rule = HeaderRule::of(&shared.config.proxy, source.ip());
    let mut greeter = Box::new(Greeter::new(rule, shared.config.limits.hello_bytes));
    // Usually everything is there already: the client sends right after it connected.
    match take(&mut greeter, |buffer| socket::receive(&socket, buffer)) {
        Ok(Some(greeting)) => Ok((Client::New(socket), greeting)),
        Ok(None) => Box::pin(greet_slowly(shared, socket, greeter)).await,
        Err(reason) => Err((Some(Client::New(socket)), reason)),
    }
}

async fn greet_slowly(shared: &Shared, socket: OwnedFd, mut greeter: Box<Greeter>) -> Greeted {
    let stream = TcpStream::from_std(socket.into()).map_err(|error| {
        tracing::warn!(%error, "a connection cannot be watched");
        (None, Rejection::HandshakeAborted)
    })?;
    let read = async {
        loop {
            stream.readable().await.map_err(|_| Rejection::HandshakeAborted)?;
            if let Some(greeting) = take(&mut greeter, |buffer| stream.try_read(buffer))? {
                return Ok(greeting);
            }
        }
    };
    let result = timeout(shared.config.timeouts.handshake, read).await;
    let client = Client::Registered(stream);
    match result.unwrap_or(Err(Rejection::HandshakeTimeout)) {
        Ok(greeting) => Ok((client, greeting)),
        Err(reason) => Err((Some(client), reason)),
    }
}

/// One read into the greeter.
fn take(
    greeter: &mut Greeter,
    read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
) -> Result<Option<Box<Greeting>>, Rejection> {
    scratch::with(|buffer| {
        let room = greeter.room().min(buffer.len());
        let bytes = buffer.get_mut(..room).unwrap_or_default();
        match read(bytes) {
            Ok(0) => Err(Rejection::HandshakeAborted),
            Ok(n) => greeter.take(bytes.get(..n).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(_) => Err(Rejection::HandshakeAborted),
        }
    })
}
