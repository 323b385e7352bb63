//! Interfaces of this host's network namespace, as the kernel tells this process. `/sys/class/net` may be another one's.

use std::net::Ipv4Addr;

use nix::{errno::Errno, ifaddrs::getifaddrs, net::if_::if_nametoindex};

use crate::{Error, Result};

/// One address of an interface, or none: an interface appears once for its link address and once for every other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub name: String,
    /// Hardware address.
    pub mac: Option<[u8; 6]>,
    pub address: Option<Ipv4Addr>,
}

/// All interfaces.
pub(super) fn all() -> Result<Vec<Link>> {
    let found = getifaddrs().map_err(failed)?;
    Ok(found
        .map(|interface| {
            let address = interface.address.as_ref();
            Link {
                name: interface.interface_name,
                mac: address.and_then(|address| address.as_link_addr()?.addr()),
                address: address.and_then(|address| Some(address.as_sockaddr_in()?.ip())),
            }
        })
        .collect())
}

/// Whether there is an interface of this name.
pub(super) fn exists(name: &str) -> bool {
    if_nametoindex(name).is_ok()
}

/// Hardware address of an interface, if there is one of this name.
pub(super) fn mac(name: &str) -> Result<Option<[u8; 6]>> {
    Ok(all()?.into_iter().filter(|link| link.name == name).find_map(|link| link.mac))
}

fn failed(errno: Errno) -> Error {
    Error::Command { command: "getifaddrs".to_owned(), reason: errno.desc().to_owned() }
}
