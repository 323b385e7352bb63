//! Pools: how many machines, where, and what is refused.

use std::collections::BTreeMap;

use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};
use skep_api::Cluster;
use skep_api::condition::ConditionType::{Accepted, NetworkPolicyEnforced, Progressing, Ready};
use skep_kubeops::Reconciler as _;

use crate::world::World;

fn zones(world: &World) -> BTreeMap<String, usize> {
    let mut zones = BTreeMap::new();
    for machine in world.machines() {
        *zones.entry(machine["spec"]["zone"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    zones
}

#[tokio::test(start_paused = true)]
async fn a_pool_becomes_nodes_in_all_zones() {
    let world = World::running(4).await;
    assert_eq!(zones(&world), [("a", 2), ("b", 1), ("c", 1)].map(|(z, n)| (z.to_owned(), n)).into());
    let pool = world.pool();
    for machine in world.machines() {
        let name = machine["metadata"]["name"].as_str().unwrap();
        assert!(name.starts_with("demo-workers-") && name.len() == "demo-workers-".len() + 5, "{name}");
        assert_eq!(machine["metadata"]["labels"]["skep.dev/cluster"], "demo");
        assert_eq!(machine["metadata"]["labels"]["skep.dev/pool"], "workers");
        let owner = &machine["metadata"]["ownerReferences"][0];
        assert_eq!((&owner["uid"], &owner["controller"]), (&pool["metadata"]["uid"], &json!(true)));
        assert_eq!(machine["spec"]["template"]["version"], "v1.36.3", "chosen once, with the machine");
        assert_eq!(machine["status"]["observedGeneration"], 1);
    }
    let owner = &pool["metadata"]["ownerReferences"][0];
    assert_eq!((&owner["kind"], &owner["blockOwnerDeletion"]), (&json!("Cluster"), &json!(true)));
    let status = &pool["status"];
    for field in ["desired", "replicas", "readyReplicas", "updatedReplicas"] {
        assert_eq!(status[field], 4, "{field}");
    }
    assert_eq!(status["selector"], "skep.dev/cluster=demo,skep.dev/pool=workers");
    assert_eq!((&status["version"], &status["observedGeneration"]), (&json!("v1.36.3"), &json!(1)));
    assert_eq!(World::condition(&pool, Ready), "True NodesReady: 4 of 4 nodes are ready");
    assert!(World::condition(&pool, Accepted).starts_with("True Resolved"));
    assert!(World::condition(&pool, Progressing).starts_with("False Settled"));
    assert_eq!(world.provider.made(), 4);
}

#[tokio::test(start_paused = true)]
async fn who_relies_on_network_policies_is_told_that_these_nodes_have_none() {
    let mut world = World::running(1).await;
    let said = World::condition(&world.pool(), NetworkPolicyEnforced);
    assert!(said.starts_with("False CniWithoutPolicies: ") && said.contains("(host-gw)"), "{said}");
    // Nothing is said of nodes that are not to be had.
    world.no_root = Some("local machines need root".into());
    world.fake.edit("nodepools.skep.dev", "default", "workers", |pool| {
        pool["status"]["conditions"] = json!([]);
    });
    world.settle().await.unwrap();
    assert_eq!(World::condition(&world.pool(), NetworkPolicyEnforced), "none");
}

#[tokio::test(start_paused = true)]
async fn a_pool_says_what_it_waits_for() {
    let world = World::with_pool(2).await;
    world.step().await.unwrap();
    world.step().await.unwrap();
    let pool = world.pool();
    assert_eq!(World::condition(&pool, Ready), "False NodesNotReady: 0 of 2 nodes are ready");
    let said = World::condition(&pool, Progressing);
    assert!(said.starts_with("True Scaling: waiting for 2 machines to become ready"), "{said}");
    assert!(pool["status"]["observedGeneration"].is_null(), "not before it is so");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_and_touches_nothing() {
    let mut world = World::running(1).await;
    let before = world.names();
    for (change, reason, part) in [
        (json!({"template": {"machineClass": "huge"}}), "UnknownClass", "local-medium, local-small"),
        (json!({"zones": ["a", "z"]}), "UnknownZone", "its zones are a, b, c"),
        (
            json!({"template": {"machineClass": "local-small", "version": "v1.30.1"}}),
            "UnknownVersion",
            "v1.36.3",
        ),
        (
            json!({"template": {"machineClass": "local-small", "labels": {"skep.dev/x": "y"}}}),
            "InvalidTemplate",
            "labels",
        ),
        (json!({"update": {"maxSurge": "all"}}), "InvalidShare", "update.maxSurge"),
    ] {
        let good = world.pool()["spec"].clone();
        world.change_pool(|spec| {
            for (field, value) in change.as_object().unwrap() {
                spec[field] = value.clone();
            }
            spec["replicas"] = json!(3);
        });
        world.settle().await.unwrap();
        let pool = world.pool();
        let said = World::condition(&pool, Accepted);
        assert!(
            said.starts_with(&format!("False {reason}: ")) && said.contains(part) && said.contains("SKEP-80"),
            "{said}"
        );
        assert!(World::condition(&pool, Ready).starts_with("True Refused: 1 of 1 nodes are ready"), "{said}");
        assert_eq!(world.names(), before);
        world.change_pool(|spec| *spec = good);
    }
    world.change_pool(|spec| spec["replicas"] = json!(2));
    world.settle().await.unwrap();
    assert_eq!(world.names().len(), 2);
    assert!(World::condition(&world.pool(), Accepted).starts_with("True"));
}

#[tokio::test(start_paused = true)]
async fn nodes_ahead_of_their_control_plane_are_refused() {
    let mut world = World::with_pool(1).await;
    world.fake.edit("clusters.skep.dev", "default", "demo", |c| c["status"]["version"] = json!("v1.35.4"));
    world.change_pool(|spec| spec["template"]["version"] = json!("v1.36.3"));
    world.settle().await.unwrap();
    let said = World::condition(&world.pool(), Accepted);
    assert!(said.starts_with("False NodeAhead: ") && said.contains("serves v1.35.4"), "{said}");
    assert!(world.machines().is_empty());
    // The control plane has caught up.
    world.fake.edit("clusters.skep.dev", "default", "demo", |c| c["status"]["version"] = json!("v1.36.3"));
    world.settle().await.unwrap();
    assert_eq!(world.machines().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pool_of_a_cluster_that_is_not_there_says_which_are() {
    let mut world = World::new();
    world.fake.plant(json!({"apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "metadata": {"namespace": "default",
        "name": "lost", "generation": 1}, "spec": {"cluster": "dmeo", "template": {"machineClass": "local-small"}}}));
    world.settle().await.unwrap();
    let said = World::condition(&world.pool(), Accepted);
    assert!(said.starts_with("False NoSuchCluster: ") && said.contains("known are demo"), "{said}");
    world.plant_cluster("dmeo", "dmeo-abcd2345");
    world.settle().await.unwrap();
    assert!(World::condition(&world.pool(), Ready).starts_with("True NodesReady"));
}

#[tokio::test(start_paused = true)]
async fn more_and_fewer() {
    let mut world = World::running(1).await;
    let first = world.names();
    world.change_pool(|spec| spec["replicas"] = json!(5));
    world.settle().await.unwrap();
    assert_eq!(zones(&world).into_values().collect::<Vec<_>>(), [2, 2, 1]);
    assert!(world.names().contains(&first[0]));
    world.change_pool(|spec| spec["replicas"] = json!(3));
    world.settle().await.unwrap();
    assert_eq!(zones(&world).into_values().collect::<Vec<_>>(), [1, 1, 1]);
    assert_eq!(world.provider.machines().len(), 3);
    world.change_pool(|spec| spec["replicas"] = json!(0));
    world.settle().await.unwrap();
    assert!(world.names().is_empty() && world.provider.machines().is_empty());
    assert!(World::condition(&world.pool(), Ready).starts_with("True"), "none is what is wanted");
}

/// The watch shows what was made a moment later: a second pass before that makes nothing more.
#[tokio::test(start_paused = true)]
async fn a_watch_that_is_behind_makes_nobody_twice() {
    let world = World::with_pool(3).await;
    let reconcilers = world.reconcilers(world.fake.client());
    world.look(&reconcilers).await;
    let pool = std::sync::Arc::new(serde_json::from_value(world.pool()).unwrap());
    for _ in 0..3 {
        reconcilers.pools.reconcile(std::sync::Arc::clone(&pool)).await.unwrap();
    }
    assert_eq!(world.machines().len(), 3);
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_machines_are_not_counted() {
    let mut world = World::with_pool(1).await;
    // The right labels, but another owner; and one that nobody owns.
    for (name, owners) in [
        (
            "theirs",
            json!([{"apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "name": "workers", "uid": "other",
            "controller": true}]),
        ),
        ("nobodys", Value::Null),
    ] {
        let mut machine = json!({"apiVersion": "skep.dev/v1alpha1", "kind": "Machine", "metadata": {"namespace": "default",
            "name": name, "generation": 1, "labels": {"skep.dev/cluster": "demo", "skep.dev/pool": "workers"}},
            "spec": {"cluster": "demo", "zone": "a", "template": {"machineClass": "local-small"}}});
        if !owners.is_null() {
            machine["metadata"]["ownerReferences"] = owners;
            // As the garbage collector leaves it until it looks.
            machine["metadata"]["finalizers"] = json!(["example.org/hold"]);
        }
        world.fake.plant(machine);
    }
    world.settle().await.unwrap();
    assert_eq!(world.pool()["status"]["replicas"], 1);
    let made = world.names().into_iter().filter(|name| name.starts_with("demo-workers-")).count();
    assert_eq!(made, 1);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_is_deleted_is_replaced() {
    let mut world = World::running(2).await;
    let before = world.names();
    world.delete_machine(&before[0]).await;
    world.settle().await.unwrap();
    let after = world.names();
    assert_eq!(after.len(), 2);
    assert!(!after.contains(&before[0]) && after.contains(&before[1]));
    assert_eq!(zones(&world).len(), 2, "in the zone that has none");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_cluster_takes_pools_and_machines_with_it() {
    let mut world = World::running(2).await;
    // Its own controller holds it until the control plane and its data are gone.
    world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
        cluster["metadata"]["finalizers"] = json!(["skep.dev/cluster"]);
    });
    let clusters: Api<Cluster> = Api::namespaced(world.fake.client(), "default");
    clusters.delete("demo", &DeleteParams::default()).await.unwrap();
    let pods = world.pods();
    world.settle().await.unwrap();
    assert!(world.fake.objects("nodepools.skep.dev").is_empty());
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
    assert_eq!(world.pods(), pods, "nobody is drained for a cluster that goes");
    assert_eq!(world.fake.objects("clusters.skep.dev").len(), 1, "before the cluster itself is gone");
}

#[tokio::test(start_paused = true)]
async fn a_cluster_that_is_gone_takes_pools_and_machines_with_it() {
    let mut world = World::running(2).await;
    let clusters: Api<Cluster> = Api::namespaced(world.fake.client(), "default");
    clusters.delete("demo", &DeleteParams::default()).await.unwrap();
    assert!(world.fake.objects("nodepools.skep.dev").is_empty(), "owned by it");
    world.settle().await.unwrap();
    assert!(world.machines().is_empty() && world.provider.machines().is_empty());
}

#[tokio::test(start_paused = true)]
async fn new_rules_for_leaving_reach_machines_and_replace_none() {
    let mut world = World::running(2).await;
    let before = world.names();
    world.change_pool(|spec| spec["drain"] = json!({"timeoutSeconds": 7, "onTimeout": "Wait"}));
    world.settle().await.unwrap();
    assert_eq!(world.names(), before);
    for machine in world.machines() {
        assert_eq!(machine["spec"]["drain"], json!({"timeoutSeconds": 7, "onTimeout": "Wait"}));
        assert_eq!(machine["status"]["phase"], "Ready");
    }
}

#[tokio::test(start_paused = true)]
async fn a_person_may_exempt_a_machine_and_it_stays_so() {
    let mut world = World::running(1).await;
    let name = world.name();
    world.change("machines.skep.dev", &name, |spec| spec["repair"] = json!("Exempt"));
    world.change_pool(|spec| spec["drain"] = json!({"timeoutSeconds": 7, "onTimeout": "Force"}));
    world.settle().await.unwrap();
    assert_eq!(world.machine()["spec"]["repair"], "Exempt");
}
