//! Pure: the address of a machine whose infrastructure knows none. Its node says it, and only what can be a machine's is
//! believed: whoever owns one node must not get a certificate for the address of another one, or of the API server.

use std::net::{IpAddr, Ipv4Addr};

use skep_plan::network::Checked;

/// The address that a node may have, or why it may not. `others` are those of the cluster's other machines, with their
/// names.
pub(super) fn believed<'a>(
    reported: IpAddr,
    ranges: &Checked,
    others: impl IntoIterator<Item = (&'a str, IpAddr)>,
) -> Result<Ipv4Addr, String> {
    let refused = |why: &str| Err(format!("its node reports the address {reported}, {why} (SKEP-8130)"));
    let IpAddr::V4(address) = reported else { return refused("and nodes need IPv4") };
    if address.is_loopback()
        || address.is_unspecified()
        || address.is_broadcast()
        || address.is_multicast()
        || address.is_link_local()
    {
        return refused("which cannot be a machine's");
    }
    if address == ranges.api_server || ranges.services.contains(address) {
        return refused("which is the API server's or a Service's");
    }
    if ranges.pods.contains(address) {
        return refused("which is in the range of pods");
    }
    match others.into_iter().find(|(_, other)| *other == reported) {
        Some((name, _)) => refused(&format!("which is that of machine {name}")),
        None => Ok(address),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_be_a_machines_is_believed() {
        let ranges = skep_plan::network::check(&skep_api::resources::ClusterNetwork::default()).unwrap();
        let others = || [("box-1", IpAddr::from([192, 0, 2, 1]))];
        let go = |text: &str| believed(text.parse().unwrap(), &ranges, others());
        assert_eq!(go("192.0.2.2"), Ok(Ipv4Addr::new(192, 0, 2, 2)));
        for (address, why) in [
            ("192.0.2.1", "that of machine box-1"),
            ("127.0.0.1", "cannot be"),
            ("0.0.0.0", "cannot be"),
            ("169.254.169.254", "cannot be"),
            ("224.0.0.1", "cannot be"),
            ("fd00::1", "IPv4"),
            ("::ffff:192.0.2.2", "IPv4"),
        ] {
            let said = go(address).unwrap_err();
            assert!(said.contains(why) && said.contains(address) && said.contains("SKEP-8130"), "{said}");
        }
        for address in [ranges.api_server, ranges.api_service] {
            assert!(go(&address.to_string()).unwrap_err().contains("the API server's"), "{address}");
        }
        assert!(go("10.244.3.1").unwrap_err().contains("range of pods"));
    }
}
