//! The ranges never overlap, whatever the names are.

use proptest::prelude::*;

use super::*;

fn net(n: u8) -> LoopbackNet {
    LoopbackNet::new(n).expect("n is in range")
}

#[test]
fn a_network_round_trips_through_text() {
    for n in FIRST_NETWORK..=LAST_NETWORK {
        assert_eq!(net(n).to_string().parse::<LoopbackNet>(), Ok(net(n)));
    }
}

#[test]
fn other_networks_are_refused_with_the_reason() {
    for text in ["", "127.64.0.0", "10.64.0.0/16", "127.64.0.0/8", "127.300.0.0/16", "127.-1.0.0/16"] {
        assert_eq!(text.parse::<LoopbackNet>(), Err(AddressError::NotANetwork(text.to_owned())));
    }
    for n in [0, 1, 63, 127, 255] {
        assert_eq!(format!("127.{n}.0.0/16").parse::<LoopbackNet>(), Err(AddressError::OutsideRange(n)));
    }
}

#[test]
fn the_ranges_of_the_nodes_are_those_of_the_contract() {
    let range = net(64).dynamic(0).expect("node 0 exists");
    assert_eq!(
        (range.first().to_string(), range.last().to_string()),
        ("127.64.128.1".into(), "127.64.143.254".into())
    );
    let top = net(64).dynamic(7).expect("node 7 exists");
    assert_eq!(
        (top.first().to_string(), top.last().to_string()),
        ("127.64.240.1".into(), "127.64.254.254".into())
    );
    assert_eq!(net(64).node(0).map(|a| a.to_string()), Ok("127.64.255.1".into()));
    assert_eq!(net(64).dynamic(8), Err(AddressError::NoSuchNode(8)));
    assert_eq!(net(64).node(8), Err(AddressError::NoSuchNode(8)));
}

#[test]
fn no_two_ranges_overlap_and_none_holds_a_node() {
    let net = net(100);
    for a in 0..MAX_NODES {
        let range = net.dynamic(a).expect("in range");
        assert_eq!(range.iter().count(), range.capacity());
        for b in 0..MAX_NODES {
            let node = net.node(b).expect("in range");
            assert!(!range.contains(node));
            if a != b {
                let other = net.dynamic(b).expect("in range");
                assert!(range.last() < other.first() || other.last() < range.first());
            }
        }
    }
}

#[test]
fn a_stable_host_is_an_address_on_loopback_and_a_name_elsewhere() {
    let loopback = PodNetwork::Loopback(net(64)).stable_host("skep-system", "main", "main-0");
    assert_eq!(loopback, StableHost::Address(net(64).stable("skep-system", "main-0").into()));
    let cluster = PodNetwork::Cluster.stable_host("skep-system", "main", "main-0");
    assert_eq!(cluster.https(2379), "https://main-0.main.skep-system.svc:2379");
    let v6 = StableHost::Address("fd00::1".parse().expect("an address"));
    assert_eq!(v6.https(2379), "https://[fd00::1]:2379");
}

/// The address is written into certificates that outlive an upgrade of Skep: the
/// function may never change.
#[test]
fn stable_addresses_are_fixed_for_ever() {
    assert_eq!(net(64).stable("skep-system", "main-0").to_string(), STABLE_MAIN_0);
    assert_eq!(
        net(126).stable("skep-system", "main-0").octets()[2..],
        net(64).stable("skep-system", "main-0").octets()[2..]
    );
}

const STABLE_MAIN_0: &str = "127.64.9.181";

proptest! {
    #[test]
    fn stable_pods_stay_in_the_lower_half(n in FIRST_NETWORK..=LAST_NETWORK, ns in "[a-z0-9-]{1,63}", pod in "[a-z0-9-]{1,63}") {
        let net = net(n);
        let address = net.stable(&ns, &pod);
        prop_assert!(net.contains(address));
        prop_assert!(address.octets()[2] < 128);
        prop_assert!((1..=254).contains(&address.octets()[3]));
        prop_assert_eq!(address, net.stable(&ns, &pod));
    }
}
