//! A changed template whose machines do not become healthy: the update stops by itself and goes back.

use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Progressing, Ready};

use crate::world::{Reconcilers, World};

fn versions(world: &World) -> Vec<Value> {
    let mut all: Vec<Value> =
        world.machines().iter().map(|machine| machine["status"]["versions"]["kubelet"].clone()).collect();
    all.sort_by_key(ToString::to_string);
    all
}

fn said(world: &World) -> String {
    World::condition(&world.pool(), Progressing)
}

/// A pool of three, healthy, in which machines of v1.35.4 will never become nodes.
async fn world() -> (World, Reconcilers) {
    let world = World::running(3).await;
    let reconcilers = world.reconcilers(world.fake.client());
    world.beats(&reconcilers).await;
    assert_eq!(world.pool()["status"]["healthyTemplate"]["version"], "v1.36.3");
    world.provider.mute(Some("v1.35.4"));
    (world, reconcilers)
}

fn try_it(world: &World, strategy: &str) {
    world.change_pool(|spec| {
        spec["update"]["strategy"] = json!(strategy);
        spec["template"]["version"] = json!("v1.35.4");
    });
}

#[tokio::test(start_paused = true)]
async fn a_surge_stops_and_goes_back() {
    let (world, reconcilers) = world().await;
    let before = world.names();
    try_it(&world, "Surge");
    world.beats(&reconcilers).await;
    let new = world.names().into_iter().find(|name| !before.contains(name)).unwrap();
    world.wait(890);
    world.beats(&reconcilers).await;
    assert!(said(&world).starts_with("True Updating"), "{}", said(&world));
    assert_eq!(world.provider.reboots(&new), 0, "repair leaves it alone");
    world.wait(10);
    world.beat(&reconcilers).await;
    let text = said(&world);
    assert!(text.starts_with("False UpdateStopped: the update to v1.35.4 was stopped: "), "{text}");
    assert!(
        text.contains(&new) && text.contains("the node has not registered") && text.contains("SKEP-8067"),
        "{text}"
    );
    assert_eq!(world.names().len(), 4, "it was written down before anything is done");
    world.beats(&reconcilers).await;
    assert_eq!((world.names(), world.phases().len()), (before.clone(), 3));
    let text = said(&world);
    assert!(text.starts_with("False UpdateStopped: ") && text.contains("as before, v1.36.3"), "{text}");
    assert!(World::condition(&world.pool(), Ready).starts_with("True NodesReady"));
    let pool = world.pool();
    assert_ne!(
        pool["status"]["observedGeneration"], pool["metadata"]["generation"],
        "the spec is not fulfilled"
    );

    // More machines are made as those that are healthy.
    world.change_pool(|spec| spec["replicas"] = json!(4));
    world.beats(&reconcilers).await;
    assert_eq!(versions(&world), vec![json!("v1.36.3"); 4]);
    // Somebody has found out why.
    world.provider.mute(None);
    world.change_pool(|spec| spec["update"]["attempt"] = json!(1));
    for _ in 0..6 {
        world.beats(&reconcilers).await;
    }
    assert_eq!(versions(&world), vec![json!("v1.35.4"); 4]);
    let pool = world.pool();
    assert!(said(&world).starts_with("False Settled"), "{}", said(&world));
    assert_eq!(
        (&pool["status"]["stopped"], &pool["status"]["healthyTemplate"]["version"]),
        (&Value::Null, &json!("v1.35.4"))
    );
}

#[tokio::test(start_paused = true)]
async fn in_place_the_same_machine_goes_back() {
    let (world, reconcilers) = world().await;
    let before = world.names();
    try_it(&world, "InPlace");
    world.beats(&reconcilers).await;
    world.wait(900);
    world.beats(&reconcilers).await;
    world.beats(&reconcilers).await;
    assert_eq!(world.names(), before);
    assert_eq!(versions(&world), vec![json!("v1.36.3"); 3]);
    assert!(world.phases().values().all(|phase| phase == "Ready"), "{:?}", world.phases());
    assert!(said(&world).starts_with("False UpdateStopped"), "{}", said(&world));
    assert!(world.fake.objects("nodes").iter().all(|node| node["spec"]["unschedulable"] != true));
}

#[tokio::test(start_paused = true)]
async fn what_became_healthy_stays_and_the_mixture_is_shown() {
    let (world, reconcilers) = world().await;
    world.provider.mute(None);
    let before = world.names();
    try_it(&world, "Surge");
    // The first new machine comes up; the next does not.
    for _ in 0..40 {
        world.beat(&reconcilers).await;
        if versions(&world).contains(&json!("v1.35.4")) {
            break;
        }
    }
    world.provider.mute(Some("v1.35.4"));
    world.beats(&reconcilers).await;
    assert_eq!(world.pool()["status"]["versionSummary"], "v1.36.3 (2), v1.35.4 (1)");
    world.wait(900);
    world.beats(&reconcilers).await;
    world.beats(&reconcilers).await;
    assert_eq!(world.names().len(), 3);
    assert_eq!(world.names().iter().filter(|name| before.contains(name)).count(), 2);
    assert_eq!(
        world.pool()["status"]["versions"],
        json!([{"version": "v1.36.3", "count": 2}, {"version": "v1.35.4", "count": 1}])
    );
    assert!(said(&world).starts_with("False UpdateStopped"), "{}", said(&world));
}

#[tokio::test(start_paused = true)]
async fn machines_that_cannot_be_made_end_an_update_too() {
    let (world, reconcilers) = world().await;
    let before = world.names();
    world.provider.break_down(Some("there is no such version"));
    try_it(&world, "Surge");
    let pass = async || {
        for _ in 0..6 {
            let _ = world.pass(&reconcilers).await;
        }
    };
    pass().await;
    assert!(world.phases().values().any(|phase| phase == "Failed"), "{:?}", world.phases());
    world.wait(900);
    pass().await;
    assert_eq!(world.names(), before);
    assert!(said(&world).starts_with("False UpdateStopped"), "{}", said(&world));
}
