//! From a node to nothing.

use kube::Api;
use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Draining, Progressing, Ready};

use crate::kubelets;
use crate::world::World;

/// One pass by a new process.
async fn pass(world: &World) -> anyhow::Result<()> {
    world.pass(&world.reconcilers(world.fake.client())).await
}

fn hold(world: &World, pod: &str) {
    world.held.lock().unwrap().insert(pod.to_owned());
}

/// As if the drain had begun so long ago.
fn begin_earlier(world: &World, name: &str) {
    let known = world.fake.edit("machines.skep.dev", "default", name, |machine| {
        for condition in machine["status"]["conditions"].as_array_mut().unwrap() {
            if condition["type"] == "Draining" {
                condition["lastTransitionTime"] = json!("2020-01-01T00:00:00Z");
            }
        }
    });
    assert!(known);
}

/// A machine with a ready node and a pod on it; its name.
async fn one() -> (World, String) {
    let mut world = World::running(1).await;
    let name = world.name();
    world.change_pool(|spec| spec["replicas"] = json!(0));
    // What belongs to the node stays on it.
    world.fake.plant(json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": "default",
        "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "u", "controller": true}]},
        "spec": {"nodeName": name}, "status": {"phase": "Running"}}));
    world.fake = world.fake.without_garbage_collection();
    (world, name)
}

#[tokio::test(start_paused = true)]
async fn pods_leave_first_then_the_node_then_the_machine() {
    let (world, name) = one().await;
    world.provider.delete_slowly(2);
    hold(&world, &format!("app-{name}"));
    pass(&world).await.unwrap();
    pass(&world).await.unwrap();
    let machine = world.machine();
    assert_eq!(machine["status"]["phase"], "Draining");
    let said = World::condition(&machine, Draining);
    assert_eq!(
        said,
        format!("True Draining: pods to leave: default/app-{name} (its disruption budget holds it)")
    );
    let node = kubelets::node(&world.fake, &name).unwrap();
    assert_eq!(node["spec"]["unschedulable"], true);
    assert!(!world.provider.calls().iter().any(|call| call.starts_with("delete")));

    world.held.lock().unwrap().clear();
    pass(&world).await.unwrap();
    assert_eq!(world.pods(), ["agent"], "pods of DaemonSets stay");
    assert!(kubelets::node(&world.fake, &name).is_some(), "one more look says that nobody is left");
    pass(&world).await.unwrap();
    assert!(kubelets::node(&world.fake, &name).is_none());
    let machine = world.machine();
    assert_eq!(machine["status"]["phase"], "Deleting");
    assert_eq!(World::condition(&machine, Ready), "False Deleting: the infrastructure removes the machine");
    pass(&world).await.unwrap();
    assert_eq!(world.machines().len(), 1, "not before the machine is gone");
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn when_time_is_over_the_node_goes_all_the_same() {
    let (world, name) = one().await;
    hold(&world, &format!("app-{name}"));
    for _ in 0..3 {
        pass(&world).await.unwrap();
    }
    begin_earlier(&world, &name);
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
    assert!(kubelets::node(&world.fake, &name).is_none());
}

#[tokio::test(start_paused = true)]
async fn when_time_is_over_it_stays_if_the_rules_say_so() {
    let (world, name) = one().await;
    world.change("machines.skep.dev", &name, |spec| spec["drain"]["onTimeout"] = json!("Wait"));
    world.change_pool(|spec| spec["drain"] = json!({"timeoutSeconds": 600, "onTimeout": "Wait"}));
    hold(&world, &format!("app-{name}"));
    for _ in 0..3 {
        pass(&world).await.unwrap();
    }
    begin_earlier(&world, &name);
    pass(&world).await.unwrap();
    let said = World::condition(&world.machine(), Draining);
    assert!(said.starts_with("True Blocked: ") && said.contains(&format!("default/app-{name}")), "{said}");
    assert!(said.contains("SKEP-8059"), "{said}");
    assert_eq!(world.provider.machines().len(), 1);
    // Whoever holds it lets go.
    world.held.lock().unwrap().clear();
    pass(&world).await.unwrap();
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn rules_without_time_drain_nobody() {
    let (world, name) = one().await;
    world.change_pool(|spec| spec["drain"] = json!({"timeoutSeconds": 0, "onTimeout": "Wait"}));
    world.change("machines.skep.dev", &name, |spec| spec["drain"]["timeoutSeconds"] = json!(0));
    hold(&world, &format!("app-{name}"));
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty());
    assert_eq!(world.pods().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn pods_on_a_node_that_is_not_ready_are_asked_and_not_waited_for() {
    let (world, name) = one().await;
    world.change_node(&name, |node| node["status"]["conditions"][0]["status"] = json!("Unknown"));
    // Nobody ends it there.
    world.fake.edit("pods", "default", &format!("app-{name}"), |pod| {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    });
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_is_away_does_not_keep_a_machine_for_ever() {
    let (world, name) = one().await;
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!("False");
    });
    world.delete_machine(&name).await;
    let error = pass(&world).await.unwrap_err().to_string();
    assert!(error.contains("default/demo does not serve"), "{error}");
    assert_eq!(world.machine()["status"]["phase"], "Draining", "the clock runs");
    assert_eq!(world.provider.machines().len(), 1);
    begin_earlier(&world, &name);
    pass(&world).await.unwrap_err();
    assert!(world.provider.machines().is_empty(), "the machine is given back");
    assert_eq!(world.machines().len(), 1, "but its node is still to be deleted");
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!("True");
    });
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty() && kubelets::node(&world.fake, &name).is_none());
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_goes_is_not_asked_for_anything() {
    let (world, name) = one().await;
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        cluster["metadata"]["finalizers"] = json!(["skep.dev/cluster"]);
    });
    // Its API server is gone already: whoever connects to it fails the test.
    let mut config = world.config(world.fake.client());
    config.connect = std::sync::Arc::new(|_| panic!("nobody is there"));
    world.delete_machine(&name).await;
    let reconcilers = {
        let caches = skep_node::Caches::default();
        let machines = skep_node::MachineReconciler::new(
            config.clone(),
            caches.clone(),
            skep_kubeops::Observed::default(),
            skep_kubeops::Trigger::new(),
        );
        let pools = skep_node::NodePoolReconciler::new(config, caches.clone());
        crate::world::Reconcilers { pools, machines, caches }
    };
    world.look(&reconcilers).await;
    world.pass_machines(&reconcilers).await.unwrap();
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
    assert!(kubelets::node(&world.fake, &name).is_some(), "it goes with the cluster's data");
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_class_is_gone_is_given_back_all_the_same() {
    let (world, name) = one().await;
    let classes: Api<skep_api::MachineClass> = Api::all(world.fake.client());
    classes.delete("local-small", &Default::default()).await.unwrap();
    world.delete_machine(&name).await;
    for _ in 0..3 {
        pass(&world).await.unwrap();
    }
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_whose_infrastructure_is_not_at_hand_is_kept_and_says_so() {
    let (mut world, name) = one().await;
    world.no_root = Some("local machines need root: run skep as root".into());
    world.delete_machine(&name).await;
    pass(&world).await.unwrap();
    let error = pass(&world).await.unwrap_err().to_string();
    assert!(error.contains("need root") && error.contains("SKEP-8057"), "{error}");
    let machine = world.machine();
    assert!(World::condition(&machine, Ready).contains("need root"));
    world.no_root = None;
    pass(&world).await.unwrap();
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_machine_deleted_before_it_joined_takes_its_token_with_it() {
    let world = World::with_pool(1).await;
    for _ in 0..3 {
        pass(&world).await.unwrap();
    }
    assert_eq!(kubelets::tokens(&world.fake).len(), 1);
    world.delete_pool().await;
    for _ in 0..3 {
        pass(&world).await.unwrap();
    }
    assert!(kubelets::tokens(&world.fake).is_empty());
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_finalizer_does_not_bring_a_machine_back() {
    let (world, name) = one().await;
    world.fake.edit("machines.skep.dev", "default", &name, |machine| {
        machine["metadata"]["finalizers"].as_array_mut().unwrap().push(json!("example.org/hold"));
    });
    world.delete_machine(&name).await;
    for _ in 0..5 {
        pass(&world).await.unwrap();
    }
    assert_eq!(world.machine()["metadata"]["finalizers"], json!(["example.org/hold"]));
    assert!(world.provider.machines().is_empty());
    assert_ne!(world.machine()["status"]["phase"], Value::Null);
}

#[tokio::test(start_paused = true)]
async fn a_pool_on_its_way_out_says_what_holds_it() {
    let world = World::running(2).await;
    let names = world.names();
    hold(&world, &format!("app-{}", names[1]));
    let pools: Api<skep_api::NodePool> = Api::namespaced(world.fake.client(), "default");
    pools.delete("workers", &kube::api::DeleteParams::foreground()).await.unwrap();
    let reconcilers = world.reconcilers(world.fake.client());
    world.pass(&reconcilers).await.unwrap();
    let said = World::condition(&world.pool(), Ready);
    let untouched = names.iter().map(|name| format!("{name} has not begun to leave"));
    let untouched = untouched.collect::<Vec<_>>().join("; ");
    assert_eq!(said, format!("False Deleting: waits for 2 machines: {untouched}"));
    world.beats(&reconcilers).await;

    let pool = world.pool();
    let since = world.machine()["status"]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["type"] == "Draining")
        .unwrap()["lastTransitionTime"]
        .as_str()
        .unwrap()
        .to_owned();
    let expected = format!(
        "Deleting: waits for 1 machine: {name} is draining since {since} (drain.timeoutSeconds 600, then it goes with those \
         that are left): pods to leave: default/app-{name} (its disruption budget holds it)",
        name = names[1]
    );
    assert_eq!(World::condition(&pool, Ready), format!("False {expected}"));
    assert_eq!(World::condition(&pool, Progressing), format!("True {expected}"));
    assert_eq!((&pool["status"]["desired"], &pool["status"]["replicas"]), (&json!(0), &json!(1)));
    assert_eq!(pool["status"]["readyReplicas"], 0);

    // Its API server is away: so says the pool.
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!("False");
    });
    let _ = world.pass(&reconcilers).await;
    let _ = world.pass(&reconcilers).await;
    let said = World::condition(&world.pool(), Ready);
    assert!(said.contains("is draining since") && said.contains("default/demo does not serve"), "{said}");
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["status"]["conditions"][0]["status"] = json!("True");
    });
    world.held.lock().unwrap().clear();
    world.beats(&reconcilers).await;
    assert!(world.machines().is_empty() && world.fake.objects("nodepools.skep.dev").is_empty());
}
