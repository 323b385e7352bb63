//! With the kernel itself, in a network namespace that goes away with the test.

use std::{net::Ipv4Addr, process::Command};

use super::{
    apply,
    desired::{Desired, Here, desired},
    view::NodeView,
};
use crate::{children::Children, config::PodNetwork, preflight::find};

/// Set in the copy of this program that is in a namespace of its own.
const INSIDE: &str = "SKEP_TEST_NETWORK_NAMESPACE";

/// Runs a test of this program again, alone and in a network namespace of its own. True in that copy.
fn inside(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    if !nix::unistd::geteuid().is_root() || find("ip").is_none() || find("bridge").is_none() {
        eprintln!("SKIPPED {test}: it needs root and iproute2");
        return false;
    }
    let this = std::env::current_exe().unwrap();
    let mut command = Command::new("unshare");
    command
        .arg("--net")
        .arg(this)
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1");
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr)
    );
    false
}

fn ip(arguments: &str) -> String {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn here(network: PodNetwork) -> Here<'static> {
    let address = Ipv4Addr::new(198, 19, 3, 7);
    Here { name: "me", address, interface: "eth0", pods: "10.244.0.0/16".parse().unwrap(), network }
}

fn nodes(others: impl IntoIterator<Item = u8>) -> Vec<NodeView> {
    let node = |name: &str, third: u8, last: u8| {
        NodeView::new(name, Some(&format!("10.244.{third}.0/24")), Some(&format!("198.19.3.{last}")))
    };
    let others = others.into_iter().map(|n| node(&format!("n{n}"), n, n + 100));
    others.chain([node("me", 200, 7)]).collect()
}

async fn bring(children: &Children, here: Here<'_>, nodes: &[NodeView]) -> (u32, Desired) {
    let wanted = desired(here, nodes);
    let mtu = apply::device(children, here).await.unwrap();
    apply::tables(children, here, &wanted).await.unwrap();
    (mtu, wanted)
}

#[test]
fn the_kernel_does_what_it_is_told() {
    if inside("routes::tests::the_kernel_does_what_it_is_told") {
        tokio::runtime::Runtime::new().unwrap().block_on(the_kernel());
    }
}

async fn the_kernel() {
    let children = Children::new().unwrap();
    ip("link add eth0 mtu 1400 type veth peer name far");
    ip("link set far up");
    ip("address add 198.19.3.7/24 dev eth0");
    ip("link set eth0 up");
    // Of somebody else: must stay whatever we do.
    ip("route add 10.244.77.0/24 via 198.19.3.99 dev eth0");

    // Between nodes of one segment.
    let direct = here(PodNetwork::HostGw);
    let (mtu, _) = bring(&children, direct, &nodes(1..=50)).await;
    assert_eq!(mtu, 1400);
    assert_eq!(ip("route show proto 83").lines().count(), 50);
    assert!(ip("route show 10.244.7.0/24").contains("via 198.19.3.107 dev eth0"));
    // Somebody has removed one, and a node is gone.
    ip("route del 10.244.8.0/24");
    bring(&children, direct, &nodes((1..=50).filter(|n| *n != 7))).await;
    assert!(ip("route show 10.244.8.0/24").contains("198.19.3.108"));
    assert_eq!(ip("route show 10.244.7.0/24"), "");

    // The same nodes, now wrapped.
    let wrapped = here(PodNetwork::Vxlan);
    let (mtu, wanted) = bring(&children, wrapped, &nodes(1..=50)).await;
    assert_eq!(mtu, 1350);
    assert!(ip("route show 10.244.7.0/24").contains("via 10.244.7.0 dev skep-vxlan"));
    assert!(ip("route show 10.244.7.0/24").contains("onlink"));
    assert_eq!(ip("route show proto 83").lines().count(), 50);
    assert_eq!(ip("neigh show dev skep-vxlan nud permanent").lines().count(), 50);
    assert!(ip("address show dev skep-vxlan").contains("10.244.200.0/32"));
    let index = ip("-json link show dev skep-vxlan");
    // Nothing is to do, and the device stays the same one.
    assert_eq!(apply::pending(&children, wrapped, &wanted).await.unwrap(), 0);
    let (_, wanted) = bring(&children, wrapped, &nodes(2..=40)).await;
    assert_eq!(ip("-json link show dev skep-vxlan"), index);
    assert_eq!(ip("neigh show dev skep-vxlan nud permanent").lines().count(), 39);
    assert_eq!(apply::pending(&children, wrapped, &wanted).await.unwrap(), 0);

    // A device that is not the right one any more is made anew, with everything in it.
    ip("link set skep-vxlan mtu 1200");
    let (_, wanted) = bring(&children, wrapped, &nodes(2..=40)).await;
    assert!(ip("link show dev skep-vxlan").contains("mtu 1350"));
    assert_eq!(apply::pending(&children, wrapped, &wanted).await.unwrap(), 0);

    // And back.
    let (_, wanted) = bring(&children, direct, &nodes(1..=3)).await;
    assert!(!ip("link show").contains("skep-vxlan"));
    assert_eq!(ip("route show proto 83").lines().count(), 3);
    assert_eq!(apply::pending(&children, direct, &wanted).await.unwrap(), 0);
    assert!(ip("route show 10.244.77.0/24").contains("198.19.3.99"));
}

#[test]
fn one_route_that_cannot_be_set_keeps_no_other_from_being_set() {
    if inside("routes::tests::one_route_that_cannot_be_set_keeps_no_other_from_being_set") {
        tokio::runtime::Runtime::new().unwrap().block_on(one_of_three());
    }
}

async fn one_of_three() {
    let children = Children::new().unwrap();
    ip("link add eth0 type veth peer name far");
    ip("link set far up");
    ip("address add 198.19.3.7/24 dev eth0");
    ip("link set eth0 up");
    let here = here(PodNetwork::HostGw);
    let mut nodes = nodes(1..=2);
    nodes.push(NodeView::new("far", Some("10.244.0.0/24"), Some("192.0.2.1")));
    let error = apply::tables(&children, here, &desired(here, &nodes)).await.unwrap_err();
    assert!(error.to_string().contains("SKEP-8014"), "{error}");
    assert_eq!(ip("route show proto 83").lines().count(), 2);
}
