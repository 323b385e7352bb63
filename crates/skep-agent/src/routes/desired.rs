//! What the kernel should know, from what the API says. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use ipnet::Ipv4Net;

use super::{
    entry::{Entry, Route},
    view::NodeView,
    vxlan::{self, Mac},
};
use crate::config::PodNetwork;

/// This node, and the network of its cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Here<'a> {
    /// Name of this node.
    pub name: &'a str,
    /// Its address.
    pub address: Ipv4Addr,
    /// Interface that has it.
    pub interface: &'a str,
    /// Range of all pods.
    pub pods: Ipv4Net,
    /// How nodes reach each other's pods.
    pub network: PodNetwork,
}

/// What there should be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Desired {
    /// Range of this node's own pods, once it has one.
    pub own: Option<Ipv4Net>,
    /// For the kernel.
    pub entries: BTreeSet<Entry>,
}

/// What there should be, given all Nodes.
pub(super) fn desired<'a>(here: Here<'_>, nodes: impl IntoIterator<Item = &'a NodeView>) -> Desired {
    let by_name: BTreeMap<&str, &NodeView> = nodes.into_iter().map(|node| (node.name(), node)).collect();
    let own = by_name.get(here.name).and_then(|node| node.range).filter(|range| here.pods.contains(range));
    let own = own.map(|range| range.trunc());
    // Of others, not all pods there are: that would take our own away.
    let valid = |range: &Ipv4Net| here.pods.contains(range) && range.prefix_len() > here.pods.prefix_len();
    let mut ranges = BTreeMap::new();
    for node in by_name.values().filter(|node| node.name() != here.name) {
        let (Some(range), Some(address)) = (node.range.filter(valid), node.address) else { continue };
        // A Node that was left over may have the address, or even the range, of this one.
        if address != here.address && Some(range.trunc()) != own {
            // Should two claim the same range, the order of names decides the same way on every node.
            ranges.entry(range.trunc()).or_insert(address);
        }
    }
    let entries = match here.network {
        PodNetwork::None => BTreeSet::new(),
        PodNetwork::HostGw => ranges.into_iter().map(|(range, via)| direct(here, range, via)).collect(),
        PodNetwork::Vxlan => {
            let device = own.map(|range| Entry::Address(range.network()));
            device
                .into_iter()
                .chain(ranges.into_iter().flat_map(|(range, node)| wrapped(range, node)))
                .collect()
        }
    };
    Desired { own, entries }
}

fn direct(here: Here<'_>, range: Ipv4Net, via: Ipv4Addr) -> Entry {
    Entry::Route(Route { range, via, device: here.interface.to_owned() })
}

/// The other node's device has the first address of its range, which no pod has.
fn wrapped(range: Ipv4Net, node: Ipv4Addr) -> [Entry; 3] {
    let (far, mac) = (range.network(), Mac::of(node));
    let route = Route { range, via: far, device: vxlan::DEVICE.to_owned() };
    [Entry::Forward(mac, node), Entry::Neighbour(far, mac), Entry::Route(route)]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(network: PodNetwork) -> Here<'static> {
        Here {
            name: "me",
            address: Ipv4Addr::new(198, 19, 3, 7),
            interface: "eth0",
            pods: "10.244.0.0/16".parse().unwrap(),
            network,
        }
    }

    fn nodes() -> Vec<NodeView> {
        let node = NodeView::new;
        vec![
            node("me", Some("10.244.3.0/24"), Some("198.19.3.7")),
            node("a", Some("10.244.1.0/24"), Some("198.19.3.8")),
            node("b", Some("10.244.2.0/24"), Some("198.19.3.9")),
            node("new", None, Some("198.19.3.10")),
            node("unborn", Some("10.244.5.0/24"), None),
            node("thief", Some("10.0.0.0/8"), Some("198.19.3.11")),
            node("everything", Some("10.244.0.0/16"), Some("198.19.3.11")),
            node("outside", Some("192.0.2.0/24"), Some("198.19.3.11")),
            node("old-me", Some("10.244.9.0/24"), Some("198.19.3.7")),
            node("twin", Some("10.244.3.0/24"), Some("198.19.3.12")),
            node("z-of-a", Some("10.244.1.0/24"), Some("198.19.3.13")),
        ]
    }

    #[test]
    fn every_other_node_gets_a_route_and_nobody_else_does() {
        let wanted = desired(here(PodNetwork::HostGw), &nodes());
        assert_eq!(wanted.own, Some("10.244.3.0/24".parse().unwrap()));
        let routes: Vec<_> = wanted.entries.iter().map(|entry| format!("{:?}", entry.set())).collect();
        insta::assert_snapshot!("desired_host_gw", routes.join("\n"));
    }

    #[test]
    fn over_vxlan_every_other_node_is_a_neighbour() {
        let wanted = desired(here(PodNetwork::Vxlan), &nodes());
        let all: Vec<_> = wanted.entries.iter().map(|entry| format!("{:?}", entry.set())).collect();
        insta::assert_snapshot!("desired_vxlan", all.join("\n"));
    }

    #[test]
    fn the_only_node_may_have_the_whole_range() {
        let all = NodeView::new("me", Some("10.244.0.0/16"), None);
        assert_eq!(desired(here(PodNetwork::HostGw), &[all]).own, Some(here(PodNetwork::HostGw).pods));
    }

    #[test]
    fn another_cni_needs_nothing_of_us() {
        assert_eq!(desired(here(PodNetwork::None), &nodes()).entries, BTreeSet::new());
    }

    #[test]
    fn an_unknown_node_has_no_range_of_its_own() {
        assert_eq!(desired(here(PodNetwork::Vxlan), &[]), Desired::default());
    }
}
