//! Connections of pods to what is outside of the cluster leave with the node's address: nobody else knows the way back
//! to a pod. Between pods, and from pods to Services, addresses stay as they are.

use ipnet::Ipv4Net;

/// Table of ours in nftables, chain of ours in iptables.
pub(crate) const TABLE: &str = "skep-node";
/// See [`TABLE`].
pub(crate) const CHAIN: &str = "SKEP-NODE";

/// Input of `nft -f -`: makes the table anew in one transaction.
pub(crate) fn nftables(pods: Ipv4Net, interface: &str) -> String {
    format!(
        "table ip {TABLE}\n\
         delete table ip {TABLE}\n\
         table ip {TABLE} {{\n\
         \tchain postrouting {{\n\
         \t\ttype nat hook postrouting priority srcnat; policy accept;\n\
         \t\toifname \"{interface}\" ip saddr {pods} ip daddr != {pods} masquerade\n\
         \t}}\n\
         }}\n"
    )
}

/// Input of `iptables-restore --noflush`, which fills the chain anew, and the rule that must lead to it.
pub(crate) fn iptables(pods: Ipv4Net, interface: &str) -> (String, Vec<String>) {
    let restore = format!(
        "*nat\n:{CHAIN} - [0:0]\n-A {CHAIN} -s {pods} ! -d {pods} -o {interface} -j MASQUERADE\nCOMMIT\n"
    );
    let jump = ["POSTROUTING", "-m", "comment", "--comment", "pods to outside of the cluster", "-j", CHAIN];
    (restore, jump.map(str::to_owned).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let pods = "10.244.0.0/16".parse().unwrap();
        insta::assert_snapshot!("masquerade_nftables", nftables(pods, "eth0"));
        let (restore, jump) = iptables(pods, "eth0");
        insta::assert_snapshot!("masquerade_iptables", format!("{restore}{jump:?}"));
    }
}
