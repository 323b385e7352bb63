//! The few socket calls on the way of a new connection, non-blocking, each as few system calls as there can be.
//!
//! Options are set on the listening socket where Linux lets accepted sockets inherit them.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, sockopt};

/// Connections that may wait to be accepted; Linux lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// Probes without an answer after which TCP gives up.
const KEEPALIVE_PROBES: u32 = 4;
const FLAGS: SocketFlags = SocketFlags::NONBLOCK.union(SocketFlags::CLOEXEC);

/// A listening socket whose connections have `TCP_NODELAY` and keepalive.
pub(crate) fn listen(address: SocketAddr, keepalive: Duration) -> io::Result<OwnedFd> {
    listen_on(stream_socket(address)?, address, keepalive)
}

/// A listening socket that does not block, at an address that this machine may get later (`IP_FREEBIND` in ip(7)). Its
/// connections have `TCP_NODELAY` and keepalive.
///
/// # Errors
/// Somebody else listens there, or this process may not.
pub fn listen_anyway(address: SocketAddr, keepalive: Duration) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    listen_on(socket, address, keepalive)
}

fn listen_on(socket: OwnedFd, address: SocketAddr, keepalive: Duration) -> io::Result<OwnedFd> {
    // Only lets a restarted gateway bind while old connections linger; a port in use is still refused.
    sockopt::set_socket_reuseaddr(&socket, true)?;
    set_options(&socket, keepalive)?;
    net::bind(&socket, &address)?;
    net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// The address a socket is bound to.
pub(crate) fn local_address(socket: impl AsFd) -> io::Result<SocketAddr> {
    Ok(SocketAddr::try_from(net::getsockname(socket)?)?)
}

/// The next waiting connection; `WouldBlock` if there is none.
pub(crate) fn accept(listener: impl AsFd) -> io::Result<(OwnedFd, SocketAddr)> {
    let (socket, peer) = net::acceptfrom_with(listener, FLAGS)?;
    let peer = peer.ok_or(Errno::CONNABORTED)?;
    Ok((socket, SocketAddr::try_from(peer)?))
}

/// Begins to connect. The first [`send`] tells whether it is done: on one machine it nearly always is.
pub(crate) fn connect(address: SocketAddr, keepalive: Duration) -> io::Result<OwnedFd> {
    let socket = stream_socket(address)?;
    set_options(&socket, keepalive)?;
    match net::connect(&socket, &address) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}

/// Reads what is there; `WouldBlock` if nothing is.
pub(crate) fn receive(socket: impl AsFd, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match net::recv(&socket, &mut *buffer, RecvFlags::DONTWAIT) {
            Err(Errno::INTR) => {}
            other => return Ok(other?.0),
        }
    }
}

/// Writes what fits; `WouldBlock` if nothing does or the connection is not made yet.
pub(crate) fn send(socket: impl AsFd, bytes: &[u8]) -> io::Result<usize> {
    loop {
        match net::send(&socket, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return Ok(other?),
        }
    }
}

/// Makes the coming close a reset, so that the other side learns that this was no orderly end.
pub(crate) fn reset_on_close(socket: impl AsFd) {
    // Fails only on a socket that has no connection any more, which needs no reset.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Lets the last bytes wait for the end that is said next, for at most 200 ms (`TCP_CORK` in tcp(7)).
pub(crate) fn keep_with_end(socket: impl AsFd) {
    // Without it they are two segments; only a client that is very fast can tell.
    let _ = sockopt::set_tcp_cork(socket, true);
}

/// Says that nothing more will be written.
pub(crate) fn close_write(socket: impl AsFd) {
    // Fails only when the other side is gone, which the next read tells as well.
    let _ = net::shutdown(socket, net::Shutdown::Write);
}

fn stream_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(net::socket_with(family, SocketType::STREAM, FLAGS, None)?)
}

fn set_options(socket: &OwnedFd, keepalive: Duration) -> io::Result<()> {
    // Linux counts keepalive in whole seconds, from 1.
    let idle = keepalive.max(Duration::from_secs(1));
    sockopt::set_tcp_nodelay(socket, true)?;
    sockopt::set_socket_keepalive(socket, true)?;
    sockopt::set_tcp_keepidle(socket, idle)?;
    sockopt::set_tcp_keepintvl(socket, (idle / 3).max(Duration::from_secs(1)))?;
    sockopt::set_tcp_keepcnt(socket, KEEPALIVE_PROBES)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpStream};

    use super::*;

    #[test]
    fn accepted_connections_inherit_their_options() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Duration::from_secs(9)).unwrap();
        let client = TcpStream::connect(local_address(&listener).unwrap()).unwrap();
        let (server, peer) = accept(&listener).unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        assert!(sockopt::tcp_nodelay(&server).unwrap() && sockopt::socket_keepalive(&server).unwrap());
        assert_eq!(sockopt::tcp_keepidle(&server).unwrap(), Duration::from_secs(9));
        assert_eq!(sockopt::tcp_keepintvl(&server).unwrap(), Duration::from_secs(3));
        assert_eq!(receive(&server, &mut [0; 9]).unwrap_err().kind(), io::ErrorKind::WouldBlock);
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn an_address_that_is_not_there_yet_can_be_listened_on() {
        // TEST-NET-3: nobody has it.
        let address = SocketAddr::from(([203, 0, 113, 7], 6443));
        let early = listen(address, Duration::from_secs(9)).unwrap_err();
        assert_eq!(early.kind(), io::ErrorKind::AddrNotAvailable);
        let listener = listen_anyway(address, Duration::from_secs(9)).unwrap();
        assert_eq!(local_address(&listener).unwrap(), address);
        assert_eq!(accept(&listener).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn a_port_in_use_is_refused() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into(), Duration::from_secs(9)).unwrap();
        let again = listen(local_address(&listener).unwrap(), Duration::from_secs(9));
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::AddrInUse);
    }

    #[test]
    fn a_refused_connection_shows_at_the_first_send() {
        let free = listen((Ipv4Addr::LOCALHOST, 0).into(), Duration::from_secs(9)).unwrap();
        let address = local_address(&free).unwrap();
        drop(free);
        let result = connect(address, Duration::from_secs(9)).and_then(|socket| send(&socket, b"hello"));
        assert_eq!(result.unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }
}
