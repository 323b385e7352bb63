//! The network of pods on their node: a bridge with the node's part of the pod range.

use ipnet::Ipv4Net;
use serde_json::json;

use super::text;
use crate::layout::Layout;

/// The bridge between the pods of a node.
pub(crate) const BRIDGE: &str = "skep-pods";

/// The configuration list. `range` is the node's `spec.podCIDR`, `mtu` what fits on the way to other nodes.
///
/// Addresses are not translated here: pods see each other as they are; what leaves the cluster is translated by a rule
/// of its own ([`nftables`](super::nftables)). Another range later wins over the address that the bridge has.
pub(crate) fn conflist(layout: &Layout, range: Ipv4Net, mtu: u32) -> String {
    text(&json!({
        "cniVersion": "1.0.0",
        "name": "skep",
        "plugins": [
            {
                "type": "bridge",
                "bridge": BRIDGE,
                "isDefaultGateway": true,
                "forceAddress": true,
                "ipMasq": false,
                "hairpinMode": true,
                "mtu": mtu,
                "ipam": {"type": "host-local", "dataDir": layout.cni("data"), "ranges": [[{"subnet": range}]]},
            },
            {"type": "portmap", "capabilities": {"portMappings": true}},
        ],
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::host;

    #[test]
    fn configuration() {
        let range = "10.244.3.0/24".parse().unwrap();
        insta::assert_snapshot!("cni", conflist(&Layout::new(&host().state), range, 1450));
    }
}
