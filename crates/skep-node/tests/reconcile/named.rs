//! Machines that an autoscaler names.

use serde_json::json;

use crate::world::World;

#[tokio::test(start_paused = true)]
async fn the_named_machine_goes_and_nothing_comes_in_its_place() {
    let mut world = World::running(3).await;
    let before = world.names();
    let named = before[0].clone();
    world.change_pool(|spec| {
        spec["replicas"] = json!(2);
        spec["scaling"] = json!({"min": 1, "max": 5, "remove": [named, "demo-workers-gone"]});
    });
    world.settle().await.unwrap();
    let after: Vec<String> = before.iter().filter(|name| **name != named).cloned().collect();
    assert_eq!(world.names(), after);
    assert_eq!(world.provider.made(), 3, "none was made");
    // The name stays in the spec, and means nothing any more.
    world.change_pool(|spec| spec["replicas"] = json!(3));
    world.settle().await.unwrap();
    assert_eq!(world.names().len(), 3);
    assert!(after.iter().all(|name| world.names().contains(name)));
}
