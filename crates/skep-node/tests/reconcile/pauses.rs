//! A cluster that is paused: its pools are left alone, whatever they ask for and whatever becomes of their nodes.

use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Paused, Progressing, Ready, RepairAllowed};

use crate::world::{Reconcilers, World};

async fn beats(world: &World, reconcilers: &Reconcilers) {
    for _ in 0..3 {
        world.beats(reconcilers).await;
    }
}

fn reconciliation(world: &World, what: &str) {
    world.change("clusters.skep.dev", "demo", |spec| spec["reconciliation"] = json!(what));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_changed_or_repaired_until_it_goes_on() {
    let world = World::running(3).await;
    let reconcilers = world.reconcilers(world.fake.client());
    world.beat(&reconcilers).await;
    let before = world.names();
    reconciliation(&world, "Paused");
    world.change_pool(|spec| {
        spec["replicas"] = json!(5);
        spec["template"]["version"] = json!("v1.35.4");
    });
    world.says_ready(&before[0], "Unknown");
    for _ in 0..3 {
        beats(&world, &reconcilers).await;
        world.wait(1000);
    }
    assert_eq!((world.names(), world.provider.reboots(&before[0])), (before.clone(), 0));
    let pool = world.pool();
    assert_eq!(pool["status"]["repairs"], Value::Null);
    let says = |type_| World::condition(&pool, type_);
    assert_eq!(
        says(Paused),
        "True AskedFor: left alone because cluster demo is: its spec.reconciliation is Paused"
    );
    assert_eq!(says(Progressing), "False Paused: its cluster is left alone");
    assert_eq!(
        says(Ready),
        "False Paused: 2 of 3 nodes are ready; it is left alone because its cluster is",
        "what is there is still looked at"
    );
    assert!(says(RepairAllowed).starts_with("Unknown NotSeen: nothing is judged: cluster demo is paused"));

    reconciliation(&world, "Active");
    for _ in 0..10 {
        beats(&world, &reconcilers).await;
        world.wait(100);
    }
    let pool = world.pool();
    assert!(World::condition(&pool, Paused).starts_with("False NotAskedFor"));
    let names = world.names();
    assert_eq!(names.len(), 5, "{:?}", world.phases());
    assert!(before.iter().all(|name| !names.contains(name)), "{:?}", world.phases());
}
