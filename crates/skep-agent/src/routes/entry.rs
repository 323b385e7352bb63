//! What the kernel is told, one thing at a time.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use super::vxlan::{self, Mac};

/// Marks our routes (`ip-route(8)`, `protocol`); no routing program has this number.
pub(super) const PROTOCOL: u8 = 83;

/// One thing the kernel knows or should know.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Entry {
    /// Address of our device.
    Address(Ipv4Addr),
    /// Where packets for a hardware address go to.
    Forward(Mac, Ipv4Addr),
    /// Hardware address of another node's device.
    Neighbour(Ipv4Addr, Mac),
    /// Where packets for a range of pods go to.
    Route(Route),
}

/// A route to the pods of a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Route {
    /// Its pods.
    pub range: Ipv4Net,
    /// The next hop.
    pub via: Ipv4Addr,
    /// The interface.
    pub device: String,
}

/// What two entries have in common that cannot both be.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key<'a> {
    Address(&'a Ipv4Addr),
    Forward(&'a Mac),
    Neighbour(&'a Ipv4Addr),
    Route(&'a Ipv4Net),
}

/// A line for `ip -batch`, or for `bridge -batch`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Line {
    Ip(String),
    Bridge(String),
}

impl Entry {
    pub(super) fn key(&self) -> Key<'_> {
        match self {
            Self::Address(address) => Key::Address(address),
            Self::Forward(mac, _) => Key::Forward(mac),
            Self::Neighbour(address, _) => Key::Neighbour(address),
            Self::Route(route) => Key::Route(&route.range),
        }
    }

    /// Makes it so, whatever has its key now.
    pub(super) fn set(&self) -> Line {
        let device = vxlan::DEVICE;
        match self {
            Self::Address(address) => Line::Ip(format!("address replace {address}/32 dev {device}")),
            Self::Forward(mac, to) => {
                Line::Bridge(format!("fdb replace {mac} dev {device} dst {to} self permanent"))
            }
            Self::Neighbour(address, mac) => {
                Line::Ip(format!("neigh replace {address} lladdr {mac} dev {device} nud permanent"))
            }
            Self::Route(Route { range, via, device }) => {
                // The next hop of our own device is not in any network of this node.
                let direct = if device == vxlan::DEVICE { " onlink" } else { "" };
                Line::Ip(format!("route replace {range} via {via} dev {device} proto {PROTOCOL}{direct}"))
            }
        }
    }

    /// Removes it.
    pub(super) fn remove(&self) -> Line {
        let device = vxlan::DEVICE;
        match self {
            Self::Address(address) => Line::Ip(format!("address del {address}/32 dev {device}")),
            Self::Forward(mac, to) => Line::Bridge(format!("fdb del {mac} dev {device} dst {to} self")),
            Self::Neighbour(address, _) => Line::Ip(format!("neigh del {address} dev {device}")),
            Self::Route(Route { range, via, device }) => {
                Line::Ip(format!("route del {range} via {via} dev {device} proto {PROTOCOL}"))
            }
        }
    }
}
