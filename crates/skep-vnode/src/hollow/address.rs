//! Addresses that look like addresses and lead nowhere.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use super::dice::key;

/// Shared address space (RFC 6598): 100.64.0.0/10. It is nobody's on the Internet, and API servers take it in EndpointSlices.
const FIRST: u32 = u32::from_be_bytes([100, 64, 0, 1]);
/// The last /16 of it is the nodes'.
const NODES: u32 = u32::from_be_bytes([100, 127, 0, 0]);

/// Addresses of pods that are in use.
#[derive(Debug, Default)]
pub struct Addresses {
    used: HashSet<u32>,
    last: u32,
}

impl Addresses {
    /// One that no other pod has. There are four million; with all of them in use some pods share one.
    pub fn take(&mut self) -> Ipv4Addr {
        let all = NODES - FIRST;
        for _ in 0..=self.used.len() {
            let offset = self.last % all;
            self.last = offset + 1;
            if self.used.insert(FIRST + offset) {
                return (FIRST + offset).into();
            }
        }
        FIRST.into()
    }

    /// Keeps an address that a pod has already; `false` when it is no address of ours or another pod has it.
    pub fn keep(&mut self, address: Ipv4Addr) -> bool {
        let number = u32::from(address);
        (FIRST..NODES).contains(&number) && self.used.insert(number)
    }

    /// Gives one back.
    pub fn release(&mut self, address: Ipv4Addr) {
        self.used.remove(&address.into());
    }
}

/// What a node's pods name as their host. Two nodes may have the same: nobody goes there.
pub fn host(node: &str) -> Ipv4Addr {
    let [.., a, b] = key(0, &["host", node]).to_be_bytes();
    (NODES + u32::from(u16::from_be_bytes([a, b]))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_pods_have_one() {
        let mut addresses = Addresses::default();
        assert!(addresses.keep(Ipv4Addr::new(100, 64, 0, 2)));
        assert!(!addresses.keep(Ipv4Addr::new(100, 64, 0, 2)) && !addresses.keep(Ipv4Addr::LOCALHOST));
        let taken: HashSet<_> = (0..1000).map(|_| addresses.take()).collect();
        assert!(taken.len() == 1000 && !taken.contains(&Ipv4Addr::new(100, 64, 0, 2)));
        addresses.release(Ipv4Addr::new(100, 64, 0, 2));
        assert!(addresses.keep(Ipv4Addr::new(100, 64, 0, 2)));
        assert_eq!(host("a").octets()[..2], [100, 127]);
    }
}
