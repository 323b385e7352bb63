//! Ends and new beginnings.

use std::fs;

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use skep_infra::{Error, Provider as _, State, local::Local};

use super::harness::*;

fn boots(local: &Local, uid: &str) -> String {
    fs::read_to_string(local.state(uid).join("boots")).unwrap()
}

#[tokio::test]
async fn the_end_of_the_first_process_is_the_end_of_all_and_the_state_stays() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let order = order("m1", "node-1", "a");
    running(&ground, &local, &order).await;
    let first = first_process(&ground, "m1");
    assert!(processes(&ground.installation()).len() >= 4);
    kill(Pid::from_raw(first), Signal::SIGKILL).unwrap();
    until("all processes end", || processes(&ground.installation()).is_empty()).await;
    assert_eq!(local.get("m1").await.unwrap().unwrap().state, State::Stopped);
    assert_eq!(tokio::time::timeout(LONG, local.ended()).await.unwrap(), "m1");
    assert_eq!(local.enter("m1").unwrap(), None);

    running(&ground, &local, &order).await;
    assert_ne!(first_process(&ground, "m1"), first);
    assert_eq!(boots(&local, "m1"), "2\n");
    let console = local.console("m1").await.unwrap();
    assert!(console.contains("boot 1 of") && console.contains("boot 2 of"), "{console}");
    delete(&local, "m1").await;
    ground.assert_clean();
}

#[tokio::test]
async fn a_reset_button_keeps_the_disk_and_nothing_else() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    assert!(matches!(local.reboot("m1").await, Err(Error::NoMachine { .. })));
    running(&ground, &local, &order("m1", "node-1", "a")).await;
    let first = first_process(&ground, "m1");
    let enter = local.enter("m1").unwrap().unwrap();
    let args: Vec<&str> = enter[1..].iter().map(String::as_str).collect();
    run(&enter[0], &[&args[..], &["ip", "link", "add", "of-the-node", "type", "bridge"]].concat());

    local.reboot("m1").await.unwrap();
    ready(&ground, "m1").await;
    assert_ne!(first_process(&ground, "m1"), first);
    assert_eq!(local.get("m1").await.unwrap().unwrap().state, State::Running);
    assert_eq!(boots(&local, "m1"), "2\n");
    let enter = local.enter("m1").unwrap().unwrap();
    let args: Vec<&str> = enter[1..].iter().map(String::as_str).collect();
    let links = run(&enter[0], &[&args[..], &["ip", "-o", "link"]].concat());
    assert!(links.contains("eth0") && !links.contains("of-the-node"), "{links}");
    delete(&local, "m1").await;
    ground.assert_clean();
}

#[tokio::test]
async fn an_installation_that_is_stopped_leaves_directories_only_and_goes_on() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let orders = ["m1", "m2"].map(|uid| order(uid, uid, "a"));
    let mut before = Vec::new();
    for order in &orders {
        before.push(running(&ground, &local, order).await);
    }
    local.halt().await.unwrap();
    let mut remains = ground.remains();
    remains.sort();
    assert_eq!(remains, ["directory m1", "directory m2"]);
    assert_eq!(local.get("m1").await.unwrap().unwrap().state, State::Stopped);
    for (order, before) in orders.iter().zip(before) {
        assert_eq!(running(&ground, &local, order).await, before);
        assert_eq!(boots(&local, &order.uid), "2\n");
        delete(&local, &order.uid).await;
    }
    ground.assert_clean();
}

#[tokio::test]
async fn many_come_and_go_at_once() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let mut making = tokio::task::JoinSet::new();
    for number in 0..6 {
        // Two calls for each, which must make one.
        for _ in 0..2 {
            let local = local.clone();
            let order = order(&format!("m{number}"), &format!("node-{number}"), "a");
            making.spawn(async move { local.ensure(&order).await.unwrap() });
        }
    }
    let made = making.join_all().await;
    let mut addresses: Vec<_> = made.iter().map(|machine| machine.address.unwrap()).collect();
    addresses.sort_unstable();
    addresses.dedup();
    assert_eq!(addresses.len(), 6);
    let mut going = tokio::task::JoinSet::new();
    for number in 0..6 {
        let local = local.clone();
        going.spawn(async move { delete(&local, &format!("m{number}")).await });
    }
    going.join_all().await;
    ground.assert_clean();
}

#[tokio::test]
async fn a_token_that_is_renewed_reaches_the_machine() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let mut order = order("m1", "node-1", "a");
    running(&ground, &local, &order).await;
    let first = first_process(&ground, "m1");
    order.join.token = "ghijkl.0123456789abcdef".to_owned();
    local.ensure(&order).await.unwrap();
    assert_eq!(first_process(&ground, "m1"), first);
    let enter = local.enter("m1").unwrap().unwrap();
    let args: Vec<&str> = enter[1..].iter().map(String::as_str).collect();
    let join = run(&enter[0], &[&args[..], &["cat", "/run/skep/config/join.json"]].concat());
    assert!(join.contains("ghijkl.0123456789abcdef"), "{join}");
    delete(&local, "m1").await;
    ground.assert_clean();
}
