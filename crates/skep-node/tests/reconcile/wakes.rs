//! The running controllers: what makes them look again. The clock is paused and stands far from the slow resync, so only an
//! event, or a pause that was asked for, can.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::json;
use skep_api::condition::ConditionType::Accepted;
use skep_infra::State;
use tokio_util::sync::CancellationToken;

use crate::kubelets;
use crate::world::{World, kubeconfig};

/// Lets time pass until it is so; kubelets do their work meanwhile.
async fn until(world: &World, what: &str, within: Duration, so: impl Fn(&World) -> bool) {
    let client = world.fake.client();
    let looking = async {
        while !so(world) {
            kubelets::step(&world.fake, &client, &world.provider).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(within, looking)
        .await
        .unwrap_or_else(|_| panic!("no {what}: {:#?}", world.machines()));
}

fn all(world: &World, count: usize, phase: &str) -> bool {
    world.phases().len() == count && world.phases().values().all(|one| one == phase)
}

fn start(world: &World) -> CancellationToken {
    let stop = CancellationToken::new();
    tokio::spawn(skep_node::run(world.config(world.fake.client()), stop.clone()));
    stop
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test(start_paused = true)]
async fn a_pool_becomes_nodes_and_a_deleted_one_nothing() {
    let world = World::with_pool(10).await;
    let _stop = start(&world).drop_guard();
    until(&world, "nodes", SOON, |world| all(world, 10, "Ready")).await;
    until(&world, "count", SOON, |world| world.pool()["status"]["readyReplicas"] == 10).await;
    world.change_pool(|spec| spec["replicas"] = json!(3));
    until(&world, "scale down", SOON, |world| all(world, 3, "Ready")).await;
    world.delete_pool().await;
    until(&world, "end", SOON, |world| world.machines().is_empty()).await;
    assert!(world.provider.machines().is_empty() && world.fake.objects("nodes").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_fails_is_noticed_at_once() {
    let world = World::with_pool(1).await;
    let _stop = start(&world).drop_guard();
    until(&world, "node", SOON, |world| all(world, 1, "Ready")).await;
    let name = world.name();
    world.change_node(&name, |node| node["status"]["conditions"][0]["status"] = json!("Unknown"));
    until(&world, "failure", Duration::from_secs(2), |world| all(world, 1, "NotReady")).await;
    until(&world, "count", SOON, |world| world.pool()["status"]["readyReplicas"] == 0).await;
}

/// Its node is called ready for a while yet: nobody waits for that.
#[tokio::test(start_paused = true)]
async fn a_machine_that_ends_is_started_at_once() {
    let world = World::with_pool(3).await;
    let _stop = start(&world).drop_guard();
    until(&world, "nodes", SOON, |world| all(world, 3, "Ready")).await;
    let runs = |world: &World, name: &str| matches!(world.provider.machines()[name].state, State::Running);
    for name in world.names() {
        world.provider.end(&name);
        until(&world, "start", Duration::from_secs(2), |world| runs(world, &name)).await;
    }
    assert_eq!(world.provider.made(), 3);
}

/// Certificates of the administrator are renewed now and then.
#[tokio::test(start_paused = true)]
async fn a_new_kubeconfig_is_used_at_once_and_the_old_one_as_long_as_it_is_the_same() {
    let world = World::with_pool(3).await;
    let config = world.config(world.fake.client());
    let count = Arc::new(AtomicUsize::new(0));
    let (counted, inner) = (count.clone(), config.connect.clone());
    let connect: skep_node::Connect = Arc::new(move |credentials| {
        counted.fetch_add(1, Ordering::SeqCst);
        let made = inner(credentials);
        Box::pin(async move {
            // Long enough for the others to come.
            tokio::time::sleep(Duration::from_millis(50)).await;
            made.await
        })
    });
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(skep_node::run(skep_node::Config { connect, ..config }, stop));
    until(&world, "nodes", SOON, |world| all(world, 3, "Ready")).await;
    let before = count.load(Ordering::SeqCst);
    let name = &world.names()[0];
    world.change_node(name, |node| node["status"]["conditions"][0]["status"] = json!("Unknown"));
    until(&world, "failure", SOON, |world| world.phases()[name] == "NotReady").await;
    assert_eq!(count.load(Ordering::SeqCst), before);
    let renewed = kubeconfig("demo", "2")["data"].clone();
    world.fake.edit("secrets", "default", "demo-kubeconfig", |secret| secret["data"] = renewed);
    until(&world, "new connection", SOON, |_| count.load(Ordering::SeqCst) > before).await;
    tokio::time::sleep(SOON).await;
    assert_eq!((before, count.load(Ordering::SeqCst)), (1, 2), "one for all machines");
}

#[tokio::test(start_paused = true)]
async fn a_pool_goes_on_when_what_it_waited_for_is_there() {
    let world = World::with_pool(1).await;
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!("False");
    });
    world.change_pool(|spec| spec["template"]["machineClass"] = json!("new"));
    let _stop = start(&world).drop_guard();
    until(&world, "refusal", SOON, |world| World::condition(&world.pool(), Accepted).starts_with("False"))
        .await;
    world.fake.plant(
        json!({"apiVersion": "skep.dev/v1alpha1", "kind": "MachineClass", "metadata": {"name": "new"},
        "spec": {"provider": "Local", "zones": ["a"],
            "capacity": {"cpu": "1", "memory": "1Gi", "ephemeralStorage": "1Gi", "pods": 10}}}),
    );
    until(&world, "machine", SOON, |world| all(world, 1, "Pending")).await;
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!("True");
    });
    until(&world, "node", SOON, |world| all(world, 1, "Ready")).await;
}

#[tokio::test(start_paused = true)]
async fn a_process_that_starts_anew_finds_everything_as_it_is() {
    let world = World::with_pool(3).await;
    {
        let _stop = start(&world).drop_guard();
        until(&world, "nodes", SOON, |world| all(world, 3, "Ready")).await;
    }
    tokio::time::sleep(SOON).await;
    let before = world.names();
    let _stop = start(&world).drop_guard();
    tokio::time::sleep(SOON).await;
    assert_eq!(world.names(), before);
    assert_eq!(world.provider.made(), 3);
    assert!(all(&world, 3, "Ready"));
}

/// After it has died nothing happens to the node any more: only time passes.
#[tokio::test(start_paused = true)]
async fn a_dead_node_is_repaired_when_its_time_is_over() {
    let world = World::with_pool(3).await;
    let (began, real) = (tokio::time::Instant::now(), Timestamp::now());
    let clock: skep_node::Clock =
        Arc::new(move || real + SignedDuration::try_from(began.elapsed()).unwrap_or_default());
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    let config = skep_node::Config { clock, ..world.config(world.fake.client()) };
    tokio::spawn(skep_node::run(config, stop));
    until(&world, "nodes", SOON, |world| all(world, 3, "Ready")).await;
    tokio::time::sleep(Duration::from_secs(400)).await;
    let name = world.names()[0].clone();
    world.says_ready(&name, "Unknown");
    // A node may be not ready for 300 s.
    tokio::time::sleep(Duration::from_secs(295)).await;
    assert_eq!(world.provider.reboots(&name), 0);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(world.provider.reboots(&name), 1);
    tokio::time::sleep(Duration::from_secs(285)).await;
    assert!(world.names().contains(&name));
    until(&world, "another machine", Duration::from_secs(40), |world| {
        !world.names().contains(&name) && all(world, 3, "Ready")
    })
    .await;
    assert_eq!(world.provider.reboots(&name), 1);
}
