//! What cannot be: said clearly, and nothing is left half made.

use std::{fs, sync::Arc};

use async_trait::async_trait;
use skep_api::KubeVersion;
use skep_infra::{
    Error, Provider as _, Result, State,
    local::{Directories, Local, Programs, Settings},
};

use super::harness::*;

#[tokio::test]
async fn orders_that_nobody_can_carry_out() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    let good = order("m1", "node-1", "a");
    let mut orders = Vec::new();
    for uid in ["", "..", "../../etc", "a/b", &"x".repeat(65)] {
        orders.push(order(uid, "node-1", "a"));
    }
    for name in ["", "-node", "Node", "a.b", "a b", &"x".repeat(64)] {
        orders.push(order("m1", name, "a"));
    }
    orders.push(order("m1", "node-1", "zone one"));
    for (cpu, memory) in [("none", "1Gi"), ("1", "1Mi")] {
        let mut order = good.clone();
        (order.class.capacity.cpu, order.class.capacity.memory) = (cpu.into(), memory.into());
        orders.push(order);
    }
    for order in orders {
        let error = local.ensure(&order).await.unwrap_err();
        assert!(matches!(error, Error::BadOrder { .. }), "{error}");
        ground.assert_clean();
    }
}

#[tokio::test]
async fn a_machine_that_cannot_start_says_why() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    fs::remove_dir_all(ground.dir().join("programs/cni")).unwrap();
    let error = local.ensure(&order("m1", "node-1", "a")).await.unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("machine node-1 does not start: its first process ended with exit status"),
        "{text}"
    );
    assert!(text.contains("programs/cni does not exist"), "{text}");
    assert_eq!(error.code().to_string(), "SKEP-8039");
    assert_eq!(processes(&ground.installation()), [0; 0]);
    fs::create_dir(ground.dir().join("programs/cni")).unwrap();
    running(&ground, &local, &order("m1", "node-1", "a")).await;
    delete(&local, "m1").await;
    ground.assert_clean();
}

/// An agent that cannot run at all ends right after its start: whoever looks next sees it, and nothing is in a loop.
#[tokio::test]
async fn an_agent_that_ends_at_once_is_a_machine_that_is_stopped() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let local = ground.open();
    ground.agent("#!/bin/sh\necho cannot go on\nexit 7\n");
    let made = local.ensure(&order("m1", "node-1", "a")).await;
    if let Err(error) = made {
        assert!(matches!(error, Error::Launch { .. }), "{error}");
    }
    until("it is seen to have stopped", || processes(&ground.installation()).is_empty()).await;
    assert_ne!(local.get("m1").await.unwrap().unwrap().state, State::Running);
    assert!(local.console("m1").await.unwrap().ends_with("cannot go on\n"));
    delete(&local, "m1").await;
    ground.assert_clean();
}

struct None;

#[async_trait]
impl Programs for None {
    async fn directories(&self, _: &KubeVersion) -> Result<Directories, String> {
        Err("Go is not installed".to_owned())
    }
}

struct Never;

#[async_trait]
impl Programs for Never {
    async fn directories(&self, _: &KubeVersion) -> Result<Directories, String> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn programs_that_are_not_there_are_waited_for_or_named() {
    if !possible().await {
        return;
    }
    let ground = Ground::new();
    let order = order("m1", "node-1", "a");
    let local = Local::open(Settings { programs: Arc::new(None), ..ground.settings() }).unwrap();
    let error = local.ensure(&order).await.unwrap_err();
    let text = "programs of a node of Kubernetes v1.36.3 cannot be had: Go is not installed";
    assert_eq!(error.to_string(), text);
    drop(local);
    let local = Local::open(Settings { programs: Arc::new(Never), ..ground.settings() }).unwrap();
    let waits = State::Starting("the programs of Kubernetes v1.36.3 are being made".to_owned());
    assert_eq!(local.ensure(&order).await.unwrap().state, waits);
    assert!(matches!(local.reboot("m1").await, Err(Error::Busy { .. })));
    delete(&local, "m1").await;
    ground.assert_clean();
}
