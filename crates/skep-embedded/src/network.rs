//! Which loopback network an installation has.
//!
//! It is chosen once, kept for ever (certificates name addresses in it) and only checked afterwards. Every running
//! installation listens on its nodes' addresses, so a look at the listening sockets shows which networks are taken,
//! also by other users.

use std::{
    net::{IpAddr, SocketAddr},
    path::Path,
};

use skep_plan::address::{FIRST_NETWORK, LAST_NETWORK, LoopbackNet, MAX_NODES};

use crate::{
    Error, Result,
    listeners::{self, Listener},
    ports,
};

/// Port of a node's kubelet endpoint.
pub const NODE_PORT: u16 = 10_250;
/// Ports that every tenant's pods listen on, each on its own address.
const POD_PORTS: [(u16, &str); 3] =
    [(6443, "kube-apiserver of tenants"), (2379, "etcd of datastores"), (2380, "etcd of datastores")];

/// The network to use: the one asked for, the remembered one, or a free one.
///
/// # Errors
/// [`Error::NetworkInUse`], [`Error::NoFreeNetwork`], or [`Error::Damaged`]-like text for an unreadable record.
pub fn select(asked: Option<LoopbackNet>, remembered: Option<&str>, seed: &Path) -> Result<LoopbackNet> {
    select_among(asked, remembered, seed, &listeners::all())
}

fn select_among(
    asked: Option<LoopbackNet>,
    remembered: Option<&str>,
    seed: &Path,
    listeners: &[Listener],
) -> Result<LoopbackNet> {
    let remembered: Option<LoopbackNet> = remembered
        .map(str::parse)
        .transpose()
        .map_err(|error| Error::Option(format!("state.json: {error}")))?;
    if let Some(net) = asked.or(remembered) {
        // Our own pods may have outlived a killed supervisor; nodes' addresses are only held by a living one.
        let taken = listeners.iter().any(|listener| is_node(net, listener.address));
        return if taken { Err(Error::NetworkInUse { network: net.to_string() }) } else { Ok(net) };
    }
    let count = LAST_NETWORK - FIRST_NETWORK + 1;
    let start = ports::hash(seed) % u16::from(count);
    (0..u16::from(count))
        .filter_map(|step| u8::try_from((start + step) % u16::from(count)).ok())
        .filter_map(|offset| LoopbackNet::new(FIRST_NETWORK + offset).ok())
        .find(|net| !listeners.iter().any(|listener| contains(*net, listener.address)))
        .ok_or(Error::NoFreeNetwork)
}

fn contains(net: LoopbackNet, address: SocketAddr) -> bool {
    matches!(address.ip(), IpAddr::V4(ip) if net.contains(ip))
}

fn is_node(net: LoopbackNet, address: SocketAddr) -> bool {
    (0..MAX_NODES)
        .filter_map(|node| net.node(node).ok())
        .any(|ip| address == SocketAddr::from((ip, NODE_PORT)))
}

/// Refuses a machine on which another program listens on all addresses at a port that every pod needs.
///
/// # Errors
/// [`Error::PortInUse`] that names the program when this user can see it.
pub fn check_pod_ports(net: LoopbackNet) -> Result<()> {
    // An address that is given to nobody: the last one of the nodes' range.
    let unused = [127, net.octet(), 255, 254];
    let node_ports = [(NODE_PORT, "virtual nodes")];
    for (port, purpose) in POD_PORTS.into_iter().chain(node_ports) {
        let address = SocketAddr::from((unused, port));
        if !ports::can_listen(address) {
            let holder = listeners::holder(address);
            return Err(Error::PortInUse { address, purpose: purpose.to_owned(), holder });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    fn net(n: u8) -> LoopbackNet {
        LoopbackNet::new(n).unwrap()
    }

    #[test]
    fn a_remembered_network_stays_while_only_pods_are_left() {
        let pod = TcpListener::bind((net(99).stable("a", "b"), 0)).unwrap();
        let seen = listeners::all();
        assert!(seen.iter().any(|listener| listener.address == pod.local_addr().unwrap()));
        let chosen = select_among(None, Some("127.99.0.0/16"), Path::new("/x"), &seen).unwrap();
        assert_eq!(chosen, net(99));
    }

    #[test]
    fn a_new_installation_avoids_every_network_in_use() {
        let first = select_among(None, None, Path::new("/x"), &[]).unwrap();
        let used = TcpListener::bind((Ipv4Addr::new(127, first.octet(), 1, 2), 0)).unwrap();
        let second = select_among(None, None, Path::new("/x"), &listeners::all()).unwrap();
        assert_ne!(first, second);
        drop(used);
    }

    #[test]
    fn another_installation_on_the_same_network_is_an_error() {
        let _node = TcpListener::bind((net(98).node(1).unwrap(), NODE_PORT)).unwrap();
        let seen = listeners::all();
        for asked in [Some(net(98)), None] {
            let error = select_among(asked, Some("127.98.0.0/16"), Path::new("/x"), &seen).unwrap_err();
            assert!(matches!(error, Error::NetworkInUse { .. }), "{error}");
        }
        assert_eq!(
            select_among(Some(net(97)), Some("127.98.0.0/16"), Path::new("/x"), &seen).unwrap(),
            net(97)
        );
    }
}
