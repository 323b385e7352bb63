//! What the kernel knows, as iproute2 prints it. Pure.

use std::{collections::BTreeSet, net::Ipv4Addr};

use ipnet::Ipv4Net;
use serde::Deserialize;

use super::entry::{Entry, Route};

/// What iproute2 prints for one thing. Which fields there are depends on what was asked for.
#[derive(Debug, Deserialize)]
struct Printed {
    dst: Option<String>,
    gateway: Option<Ipv4Addr>,
    dev: Option<String>,
    lladdr: Option<String>,
    mac: Option<String>,
    #[serde(default, rename = "addr_info")]
    addresses: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: Option<String>,
    scope: Option<String>,
}

type Parsed = Result<BTreeSet<Entry>, serde_json::Error>;

/// Routes, of `ip -json route show`. Those in a form that is never set are left alone.
pub(super) fn routes(json: &[u8]) -> Parsed {
    collect(json, |printed| {
        let range: Ipv4Net = printed.dst?.parse().ok()?;
        Some(Entry::Route(Route { range, via: printed.gateway?, device: printed.dev? }))
    })
}

/// Neighbours of our device, of `ip -json neigh show dev …`.
pub(super) fn neighbours(json: &[u8]) -> Parsed {
    collect(json, |printed| Some(Entry::Neighbour(printed.dst?.parse().ok()?, printed.lladdr?.parse().ok()?)))
}

/// The forwarding table of our device, of `bridge -json fdb show dev …`.
pub(super) fn forwards(json: &[u8]) -> Parsed {
    collect(json, |printed| Some(Entry::Forward(printed.mac?.parse().ok()?, printed.dst?.parse().ok()?)))
}

/// Addresses of our device, of `ip -json -4 address show dev …`.
pub(super) fn addresses(json: &[u8]) -> Parsed {
    let all = parse(json)?.into_iter().flat_map(|printed| printed.addresses);
    let ours = all.filter(|address| address.scope.as_deref() == Some("global"));
    Ok(ours.filter_map(|address| Some(Entry::Address(address.local?.parse().ok()?))).collect())
}

fn collect(json: &[u8], entry: impl Fn(Printed) -> Option<Entry>) -> Parsed {
    Ok(parse(json)?.into_iter().filter_map(entry).collect())
}

/// Nothing at all is what some versions print when there is nothing.
fn parse(json: &[u8]) -> Result<Vec<Printed>, serde_json::Error> {
    if json.trim_ascii().is_empty() { Ok(Vec::new()) } else { serde_json::from_slice(json) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Texts as iproute2 6.1 prints them.
    #[test]
    fn routes_are_read() {
        let json = br#"[{"dst":"10.244.1.0/24","gateway":"198.19.3.8","dev":"eth0","protocol":"83","flags":[]},
                        {"dst":"10.244.2.0/24","gateway":"10.244.2.0","dev":"skep-vxlan","flags":["onlink"]},
                        {"dst":"10.244.7.0/24","dev":"eth0","flags":[]},{"type":"blackhole","dst":"10.1.0.0/16","flags":[]}]"#;
        let lines: Vec<_> = routes(json).unwrap().iter().map(|entry| format!("{:?}", entry.set())).collect();
        assert_eq!(
            lines,
            [
                r#"Ip("route replace 10.244.1.0/24 via 198.19.3.8 dev eth0 proto 83")"#,
                r#"Ip("route replace 10.244.2.0/24 via 10.244.2.0 dev skep-vxlan proto 83 onlink")"#,
            ]
        );
    }

    #[test]
    fn entries_of_the_device_are_read() {
        let json = br#"[{"dst":"10.244.2.0","lladdr":"02:53:c6:13:03:09","state":["PERMANENT"]},{"dst":"10.244.3.0","state":["FAILED"]}]"#;
        assert_eq!(neighbours(json).unwrap().len(), 1);
        let json = br#"[{"mac":"02:53:c6:13:03:09","dst":"198.19.3.9","flags":["self"],"state":"permanent"},{"mac":"33:33:00:00:00:01","flags":["self"]}]"#;
        assert_eq!(forwards(json).unwrap().len(), 1);
        let json = br#"[{},{"ifname":"skep-vxlan","addr_info":[{"family":"inet","local":"10.244.3.0","prefixlen":32,"scope":"global"},
                        {"family":"inet6","local":"fe80::1","scope":"link"}]}]"#;
        assert_eq!(addresses(json).unwrap(), [Entry::Address(Ipv4Addr::new(10, 244, 3, 0))].into());
    }

    #[test]
    fn nothing_is_nothing_and_nonsense_is_an_error() {
        assert!(routes(b"").unwrap().is_empty() && routes(b"[ ]\n").unwrap().is_empty());
        assert!(routes(b"Error").is_err());
    }
}
