//! Connections to tenants: few, and only as long as somebody needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kube::api::DeleteParams;
use serde_json::json;
use skep_api::Machine;
use skep_kubeops::{Applier, Cache, Key, Observed, Reconciler as _, Trigger};
use skep_node::tenants::Endpoint;
use skep_node::{Tenants, Watched};

use crate::world::{World, kubeconfig};

fn endpoint() -> Endpoint {
    Endpoint { server: "https://127.0.0.1:6443".into(), host: "x.skep.internal".into() }
}

/// Tenants that count how often they were connected to.
fn tenants(world: &World, capacity: usize) -> (Tenants, Arc<AtomicUsize>) {
    let client = world.fake.client();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    let tenant = client.clone();
    let connect: skep_node::Connect = Arc::new(move |_| {
        counted.fetch_add(1, Ordering::SeqCst);
        let client = tenant.clone();
        Box::pin(async move { Ok(client) })
    });
    let hub = Applier::new(client, "test");
    let machines = Cache::<Machine>::new();
    let watch = (Watched::default(), world.config(world.fake.client()).clock);
    (Tenants::new(hub, Observed::default(), connect, machines, Trigger::new(), capacity, watch), count)
}

fn key(name: &str) -> Key {
    Key::namespaced("default", name)
}

#[tokio::test]
async fn a_connection_is_kept_until_its_kubeconfig_or_its_place_changes() {
    let world = World::new();
    let (tenants, count) = tenants(&world, 4);
    for _ in 0..3 {
        tenants.open(&key("demo"), &endpoint()).await.unwrap();
    }
    assert_eq!(count.load(Ordering::SeqCst), 1);
    let renewed = kubeconfig("demo", "2")["data"].clone();
    world.fake.edit("secrets", "default", "demo-kubeconfig", |secret| secret["data"] = renewed);
    tenants.open(&key("demo"), &endpoint()).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let elsewhere = Endpoint { server: "https://127.0.0.1:7443".into(), ..endpoint() };
    tenants.open(&key("demo"), &elsewhere).await.unwrap();
    assert_eq!((count.load(Ordering::SeqCst), tenants.len()), (3, 1));
}

#[tokio::test]
async fn the_one_not_used_for_longest_makes_room() {
    let world = World::new();
    for name in ["one", "two", "three"] {
        world.fake.plant(kubeconfig(name, "1"));
    }
    let (tenants, count) = tenants(&world, 2);
    for name in ["one", "two", "one", "three", "one"] {
        tenants.open(&key(name), &endpoint()).await.unwrap();
    }
    assert_eq!((count.load(Ordering::SeqCst), tenants.len()), (3, 2), "two had to go, one was used");
    tenants.open(&key("two"), &endpoint()).await.unwrap();
    assert_eq!((count.load(Ordering::SeqCst), tenants.len()), (4, 2));
}

#[tokio::test]
async fn what_is_not_there_or_not_usable_is_said() {
    let world = World::new();
    let (tenants, _) = tenants(&world, 2);
    let error = tenants.open(&key("nobody"), &endpoint()).await.err().unwrap().to_string();
    assert_eq!(error, "Secret default/nobody-kubeconfig is not there yet");
    world.fake.edit("secrets", "default", "demo-kubeconfig", |secret| secret["data"] = json!({}));
    let error = tenants.open(&key("demo"), &endpoint()).await.err().unwrap().to_string();
    assert!(error.contains("SKEP-8060"), "{error}");
    assert!(tenants.is_empty());
}

/// The watch is a moment behind: what we have deleted must not be taken for the node that comes next.
#[tokio::test(start_paused = true)]
async fn a_node_that_was_deleted_is_not_seen_again() {
    let world = World::new();
    let plant = |on: &str| {
        world.fake.plant(json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n"}, "spec": {"providerID": on}}));
    };
    plant("fake://1");
    let (tenants, _) = tenants(&world, 1);
    let tenant = tenants.open(&key("demo"), &endpoint()).await.unwrap();
    tenant.synced(&key("demo")).await.unwrap();
    tenant
        .delete_node(&key("demo"), "n", |node| node.spec.provider_id.as_deref() == Some("other"))
        .await
        .unwrap();
    assert!(tenant.node("n").is_some(), "the wrong one");
    tenant.delete_node(&key("demo"), "n", |_| true).await.unwrap();
    assert!(tenant.nodes.get(&Key::cluster("n")).is_some(), "nobody has told the watch yet");
    assert!(tenant.node("n").is_none());
    plant("fake://2");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(tenant.node("n").unwrap().spec.provider_id.as_deref(), Some("fake://2"));
}

#[tokio::test(start_paused = true)]
async fn a_tenant_with_too_much_is_left_alone_for_a_while() {
    let world = World::new();
    for number in 0..=20_000 {
        let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": format!("n{number}"), "uid": "u"}});
        world.fake.plant(node);
    }
    let (tenants, count) = tenants(&world, 1);
    let tenant = tenants.open(&key("demo"), &endpoint()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(tenant.nodes.len() <= 20_001);
    let error = tenants.open(&key("demo"), &endpoint()).await.err().unwrap().to_string();
    assert!(error.contains("more than 20000 nodes") && error.contains("SKEP-8063"), "{error}");
    assert_eq!(count.load(Ordering::SeqCst), 1);
    tokio::time::sleep(Duration::from_secs(700)).await;
    tenants.open(&key("demo"), &endpoint()).await.unwrap();
    assert_eq!(count.load(Ordering::SeqCst), 2, "it may be better now");
}

#[tokio::test(start_paused = true)]
async fn a_connection_ends_with_the_last_machine() {
    let world = World::running(2).await;
    let reconcilers = world.reconcilers(world.fake.client());
    world.pass(&reconcilers).await.unwrap();
    assert_eq!(reconcilers.machines.tenants().len(), 1);
    let machines: kube::Api<Machine> = kube::Api::namespaced(world.fake.client(), "default");
    let names = world.names();
    world.delete_pool().await;
    for name in &names {
        // Their own pass is not what is looked at here.
        world.fake.edit("machines.skep.dev", "default", name, |machine| {
            machine["metadata"]["finalizers"] = json!([])
        });
        let _ = machines.delete(name, &DeleteParams::default()).await;
        world.look(&reconcilers).await;
        reconcilers.machines.deleted(&key(name));
        let left = world.machines().len();
        assert_eq!(reconcilers.machines.tenants().len(), usize::from(left > 0));
    }
    assert!(world.machines().is_empty());
}
