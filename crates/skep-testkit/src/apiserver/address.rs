//! Where a fixture listens: a loopback address that no other process has.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::atomic::{AtomicU16, Ordering},
};

static FIXTURES: AtomicU16 = AtomicU16::new(0);

/// The addresses of one fixture.
///
/// The address is made of the process id, so that two test binaries at once never
/// meet; the ports count the fixtures of this process. Nothing is probed, so nothing
/// can be taken between the probe and the start. `127.0.*` and `127.64.*` and above,
/// which installations of Skep use, are left out.
#[derive(Clone, Debug)]
pub(super) struct Address {
    ip: Ipv4Addr,
    base: u16,
}

impl Address {
    pub(super) fn next() -> Self {
        Self::of(std::process::id(), FIXTURES.fetch_add(1, Ordering::Relaxed))
    }

    /// Process ids have at most 22 bits (`pid_max`); 21 of them fit, which is far more than live at once.
    fn of(pid: u32, fixture: u16) -> Self {
        let [_, high, middle, low] = pid.to_be_bytes();
        Self { ip: Ipv4Addr::new(127, 1 + (high & 31), middle, low), base: 20_000 + (fixture % 1000) * 10 }
    }

    pub(super) fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    fn port(&self, offset: u16) -> SocketAddr {
        SocketAddr::from((self.ip, self.base + offset))
    }

    pub(super) fn etcd(&self) -> SocketAddr {
        self.port(0)
    }

    pub(super) fn etcd_peer(&self) -> SocketAddr {
        self.port(1)
    }

    pub(super) fn apiserver(&self) -> SocketAddr {
        self.port(2)
    }

    pub(super) fn controller_manager(&self) -> SocketAddr {
        self.port(3)
    }

    pub(super) fn scheduler(&self) -> SocketAddr {
        self.port(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_fixtures_do_not_share_addresses() {
        assert_eq!(Address::of(1, 0).ip(), Ipv4Addr::new(127, 1, 0, 1));
        assert_ne!(Address::of(70_000, 0).ip(), Address::of(70_001, 0).ip());
        assert_ne!(Address::of(4000, 0).apiserver(), Address::of(4000, 1).apiserver());
        assert!(Address::of(u32::MAX, 0).ip().octets()[1] < 64);
    }
}
