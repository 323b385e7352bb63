//! Readiness as an event: the notification protocol of service managers (sd_notify(3)). Programs send `READY=1` to the
//! socket in `NOTIFY_SOCKET` when they serve, so that nobody has to ask them again and again.
//!
//! The kernel gives the socket an abstract name that nothing else in the network namespace has: no file, no limit on its
//! length.

use std::{
    ffi::OsStr, io, os::fd::AsRawFd, os::linux::net::SocketAddrExt, os::unix::ffi::OsStrExt, os::unix::net,
};

use nix::sys::socket::{UnixAddr, bind};
use tokio::net::UnixDatagram;

/// Longest message that is looked at; `READY=1` comes first in what programs send.
const MAX_MESSAGE: usize = 512;

/// Receives the word of one program.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
    name: String,
}

impl Notify {
    /// A socket with a name of its own.
    ///
    /// # Errors
    /// When the system has no more sockets.
    pub fn bind() -> io::Result<Self> {
        let socket = net::UnixDatagram::unbound()?;
        // Without a name the kernel chooses one: five hexadecimal digits (unix(7), "Autobind feature").
        bind(socket.as_raw_fd(), &UnixAddr::new_unnamed())?;
        let address = socket.local_addr()?;
        let name = address.as_abstract_name().ok_or_else(|| io::Error::other("the kernel chose no name"))?;
        let name = OsStr::from_bytes(name).to_string_lossy().into_owned();
        socket.set_nonblocking(true)?;
        Ok(Self { socket: UnixDatagram::from_std(socket)?, name })
    }

    /// What the program gets as `NOTIFY_SOCKET`; `@` stands for an abstract name.
    pub fn variable(&self) -> (String, String) {
        ("NOTIFY_SOCKET".to_owned(), format!("@{}", self.name))
    }

    /// Waits for `READY=1`. Cancel safe; never returns when the program never says it.
    pub async fn ready(&self) {
        let mut buffer = [0; MAX_MESSAGE];
        loop {
            match self.socket.recv(&mut buffer).await {
                Ok(length) if says_ready(buffer.get(..length).unwrap_or_default()) => return,
                Ok(_) => {}
                Err(error) => {
                    // A broken socket never says anything: the deadline of the caller decides.
                    tracing::warn!(%error, "notification socket");
                    std::future::pending::<()>().await;
                }
            }
        }
    }
}

fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn ready_comes_after_other_words() {
        let (notify, other) = (Notify::bind().unwrap(), Notify::bind().unwrap());
        assert_ne!(notify.variable(), other.variable());
        let (_, value) = notify.variable();
        let sender = net::UnixDatagram::unbound().unwrap();
        let to = net::SocketAddr::from_abstract_name(value.strip_prefix('@').unwrap()).unwrap();
        sender.connect_addr(&to).unwrap();
        for message in ["STATUS=starting", "READY=10", "STATUS=x\nREADY=1\n"] {
            sender.send(message.as_bytes()).unwrap();
        }
        notify.ready().await;
    }
}
