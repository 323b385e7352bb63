//! Who listens on which local TCP port, from `/proc/net`.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// State `TCP_LISTEN` in `/proc/net/tcp` (include/net/tcp_states.h).
const LISTEN: &str = "0A";

/// A listening socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Address and port.
    pub address: SocketAddr,
    inode: u64,
}

/// All listening TCP sockets of this network namespace.
pub fn all() -> Vec<Listener> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .flat_map(|text| text.lines().skip(1).filter_map(parse).collect::<Vec<_>>())
        .collect()
}

/// One line of `/proc/net/tcp` or `tcp6`, when it is a listener.
fn parse(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace();
    let local = fields.nth(1)?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    (state == LISTEN).then_some(())?;
    let (address, port) = local.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    // The kernel prints 32-bit words in host byte order.
    let words: Vec<u8> = (0..address.len() / 8)
        .map(|i| u32::from_str_radix(address.get(i * 8..i * 8 + 8)?, 16).ok())
        .collect::<Option<Vec<u32>>>()?
        .into_iter()
        .flat_map(u32::to_ne_bytes)
        .collect();
    let ip = match <[u8; 4]>::try_from(words.as_slice()) {
        Ok(v4) => IpAddr::V4(Ipv4Addr::from(v4)),
        Err(_) => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(words.as_slice()).ok()?)),
    };
    Some(Listener { address: SocketAddr::new(ip.to_canonical(), port), inode })
}

impl Listener {
    /// Whether a new listener on `address` would collide with this one.
    fn blocks(&self, address: SocketAddr) -> bool {
        self.address.port() == address.port()
            && (self.address.ip() == address.ip() || self.address.ip().is_unspecified())
    }
}

/// `name (process n)` of what keeps `address` from being used; `None` when it cannot be seen by this user.
pub fn holder(address: SocketAddr) -> Option<String> {
    let listener = all().into_iter().find(|listener| listener.blocks(address))?;
    let wanted = format!("socket:[{}]", listener.inode);
    let owns = |process: &Path| {
        fs::read_dir(process.join("fd")).is_ok_and(|fds| {
            fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|to| to.as_os_str() == wanted.as_str()))
        })
    };
    let process = fs::read_dir("/proc")
        .ok()?
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().bytes().all(|byte| byte.is_ascii_digit()))
        .map(|entry| entry.path())
        .find(|path| owns(path))?;
    let name = fs::read_to_string(process.join("comm")).ok()?;
    Some(format!("{} (process {})", name.trim(), process.file_name()?.to_string_lossy()))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn reads_listeners_and_nothing_else() {
        let listening = "   0: 0100407F:192B 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1580 1 0 100 0 0 10 0";
        let listener = parse(listening).unwrap();
        assert_eq!(listener.inode, 1580);
        if cfg!(target_endian = "little") {
            assert_eq!(listener.address, "127.64.0.1:6443".parse().unwrap());
        }
        assert_eq!(parse(&listening.replace(" 0A ", " 01 ")), None);
        assert_eq!(parse("garbage"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn finds_our_own_listener_by_address_and_by_wildcard() {
        let ours = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = ours.local_addr().unwrap();
        assert!(all().iter().any(|listener| listener.address == address));
        assert!(holder(address).unwrap().contains(&format!("process {}", std::process::id())));
        let everywhere = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = everywhere.local_addr().unwrap().port();
        assert!(holder(SocketAddr::from(([127, 64, 1, 1], port))).is_some());
    }
}
