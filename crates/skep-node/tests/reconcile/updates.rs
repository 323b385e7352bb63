//! A changed template reaches machines as the pool says, and what the platform changes reaches none.

use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Progressing, Ready};
use skep_testkit::World as _;

use crate::world::World;

fn ready(world: &World) -> usize {
    world.phases().values().filter(|phase| *phase == "Ready").count()
}

/// Steps to the end, with what has to hold after each.
async fn until_settled(world: &mut World, holds: impl Fn(&World)) {
    for _ in 0..200 {
        let before = world.backend().state().await.unwrap();
        world.step().await.unwrap();
        holds(world);
        if world.backend().state().await.unwrap() == before {
            return;
        }
    }
    panic!("it never ends");
}

fn versions(world: &World) -> Vec<Value> {
    world.machines().iter().map(|machine| machine["status"]["versions"]["kubelet"].clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_surge_replaces_machines_and_never_has_too_few() {
    let mut world = World::running(3).await;
    let before = world.names();
    world.change_pool(|spec| spec["template"]["version"] = json!("v1.35.4"));
    until_settled(&mut world, |world| {
        assert!(ready(world) >= 3, "{:?}", world.phases());
        assert!(world.machines().len() <= 4, "{:?}", world.phases());
    })
    .await;
    assert_eq!(world.names().len(), 3);
    assert!(before.iter().all(|name| !world.names().contains(name)));
    assert_eq!(versions(&world), [json!("v1.35.4"), json!("v1.35.4"), json!("v1.35.4")]);
    assert_eq!(world.pool()["status"]["updatedReplicas"], 3);
    assert_eq!(world.provider.made(), 6);
}

#[tokio::test(start_paused = true)]
async fn an_update_whose_machines_do_not_come_up_stops_by_itself() {
    let mut world = World::running(3).await;
    let before = world.names();
    world.provider.break_down(Some("there is no such version"));
    world.change_pool(|spec| spec["template"]["version"] = json!("v1.35.4"));
    for _ in 0..20 {
        let _ = world.step().await;
    }
    assert!(before.iter().all(|name| world.phases()[name] == "Ready"));
    assert_eq!(world.names().len(), 4);
    let pool = world.pool();
    assert_eq!(World::condition(&pool, Ready), "True NodesReady: 3 of 3 nodes are ready");
    let said = World::condition(&pool, Progressing);
    assert!(said.starts_with("True Updating: waiting for 1 machine to become ready"), "{said}");
    // And goes back when it is taken back.
    world.change_pool(|spec| spec["template"]["version"] = json!("v1.36.3"));
    world.provider.break_down(None);
    world.settle().await.unwrap();
    assert_eq!(world.names(), before);
}

#[tokio::test(start_paused = true)]
async fn in_place_the_same_machines_come_back_one_by_one() {
    let mut world = World::running(3).await;
    let before = world.names();
    world.change_pool(|spec| {
        spec["update"] = json!({"strategy": "InPlace"});
        spec["template"]["version"] = json!("v1.35.4");
        spec["template"]["labels"] = json!({"tier": "gold"});
    });
    until_settled(&mut world, |world| assert!(ready(world) >= 2, "{:?}", world.phases())).await;
    assert_eq!(world.names(), before);
    assert_eq!(versions(&world), [json!("v1.35.4"), json!("v1.35.4"), json!("v1.35.4")]);
    for made in world.provider.machines().into_values() {
        assert_eq!(made.order.join.template.labels["tier"], "gold");
        assert_eq!(made.order.version.to_string(), "v1.35.4");
    }
    assert_eq!(world.provider.made(), 6, "each was made anew under its own name");
    assert_eq!(world.fake.objects("nodes").len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_change_in_place_that_is_called_off_leaves_the_node_as_it_was() {
    let mut world = World::running(1).await;
    let name = world.name();
    world.held.lock().unwrap().insert(format!("app-{name}"));
    let version = |world: &World, text: &str| {
        world.change_pool(|spec| {
            spec["update"] = json!({"strategy": "InPlace"});
            spec["template"]["version"] = json!(text);
        });
    };
    version(&world, "v1.35.4");
    for _ in 0..3 {
        world.step().await.unwrap();
    }
    assert_eq!(world.machine()["status"]["phase"], "Draining");
    assert_eq!(world.fake.objects("nodes")[0]["spec"]["unschedulable"], true);
    version(&world, "v1.36.3");
    world.settle().await.unwrap();
    assert_eq!(world.machine()["status"]["phase"], "Ready");
    assert_eq!(world.fake.objects("nodes")[0]["spec"]["unschedulable"], false);
    assert_eq!((world.provider.made(), world.pods().len()), (1, 1));
    // What a person has cordoned stays so.
    world.change_node(&name, |node| node["spec"]["unschedulable"] = json!(true));
    world.settle().await.unwrap();
    assert_eq!(world.fake.objects("nodes")[0]["spec"]["unschedulable"], true);
}

#[tokio::test(start_paused = true)]
async fn in_place_what_needs_another_machine_is_replaced() {
    let mut world = World::running(2).await;
    let before = world.names();
    world.change_pool(|spec| {
        spec["update"] = json!({"strategy": "InPlace"});
        spec["template"]["machineClass"] = json!("local-medium");
    });
    world.settle().await.unwrap();
    assert!(before.iter().all(|name| !world.names().contains(name)));
    for made in world.provider.machines().into_values() {
        assert_eq!(made.order.class.capacity.cpu, "4");
    }
}

#[tokio::test(start_paused = true)]
async fn on_delete_machines_stay_until_somebody_deletes_them() {
    let mut world = World::running(2).await;
    let before = world.names();
    world.change_pool(|spec| {
        spec["update"] = json!({"strategy": "OnDelete"});
        spec["template"]["labels"] = json!({"tier": "gold"});
    });
    world.settle().await.unwrap();
    assert_eq!(world.names(), before);
    let pool = world.pool();
    let said = World::condition(&pool, Progressing);
    assert!(
        said.starts_with("False OutdatedOnDelete: 2 machines are outdated") && said.contains(&before[0]),
        "{said}"
    );
    assert_eq!(pool["status"]["updatedReplicas"], 0);
    world.delete_machine(&before[0]).await;
    world.settle().await.unwrap();
    assert!(world.names().contains(&before[1]));
    assert_eq!(world.pool()["status"]["updatedReplicas"], 1);
}

#[tokio::test(start_paused = true)]
async fn what_the_platform_changes_in_a_class_replaces_nobody() {
    let mut world = World::running(3).await;
    let before = world.names();
    let known = world.fake.edit("machineclasses.skep.dev", "", "local-small", |class| {
        class["spec"]["capacity"]["memory"] = json!("4Gi");
        class["spec"]["zones"] = json!(["a", "b", "d"]);
    });
    assert!(known);
    world.settle().await.unwrap();
    assert_eq!(world.names(), before);
    // New ones are as the class is now.
    world.change_pool(|spec| spec["replicas"] = json!(4));
    world.settle().await.unwrap();
    let new = world
        .machines()
        .into_iter()
        .find(|m| !before.contains(&m["metadata"]["name"].as_str().unwrap().to_owned()));
    assert_eq!(new.unwrap()["spec"]["zone"], "d");
}

#[tokio::test(start_paused = true)]
async fn nodes_follow_a_control_plane_that_was_upgraded() {
    let mut world = World::new();
    let version = |world: &World, text: &str| {
        world.fake.edit("clusters.skep.dev", "default", "demo", |c| c["status"]["version"] = json!(text));
    };
    version(&world, "v1.35.4");
    let client = world.fake.client();
    world.set_up(&client).await.unwrap();
    world.settle().await.unwrap();
    assert_eq!(world.pool()["status"]["version"], "v1.35.4");
    version(&world, "v1.36.3");
    world.settle().await.unwrap();
    assert_eq!(versions(&world), [json!("v1.36.3"), json!("v1.36.3")]);
    assert_eq!(world.pool()["status"]["version"], "v1.36.3");
}
