//! Nodes that fail: what is done, when, how often, and what is left to people.

use serde_json::{Value, json};
use skep_api::condition::ConditionType::{Draining, RepairAllowed};

use crate::world::{Reconcilers, World};

/// A pool of five whose nodes have been watched for long, by a process that goes on; and the name of one of them.
async fn watched() -> (World, Reconcilers, String) {
    let world = World::running(5).await;
    let reconcilers = world.reconcilers(world.fake.client());
    world.beat(&reconcilers).await;
    world.wait(1000);
    let name = world.names()[0].clone();
    (world, reconcilers, name)
}

fn said(world: &World) -> String {
    World::condition(&world.pool(), RepairAllowed)
}

fn machine(world: &World, name: &str) -> Value {
    world.machines().into_iter().find(|machine| machine["metadata"]["name"] == name).unwrap()
}

fn evidence(world: &World) -> Vec<Value> {
    world.fake.objects("configmaps")
}

#[tokio::test(start_paused = true)]
async fn a_dead_node_is_rebooted_once_then_replaced_once() {
    let (world, reconcilers, name) = watched().await;
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    let text = said(&world);
    assert!(
        text.starts_with("True Watching: rebooted unless they recover: ") && text.contains(&name),
        "{text}"
    );
    world.wait(290);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 0);
    world.wait(10);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 1);
    let record = &machine(&world, &name)["status"]["repair"];
    let orders = world.pool()["status"]["repairs"].clone();
    assert_eq!((&record["reboots"], &record["last"]), (&json!(1), &orders[0]["at"]));
    assert_eq!(orders[0]["because"], "NotReady");

    // It does not help. Nothing happens for as long again, however often somebody looks.
    world.wait(290);
    world.beats(&reconcilers).await;
    assert_eq!((world.provider.reboots(&name), world.names().len()), (1, 5));
    world.wait(10);
    world.beats(&reconcilers).await;
    world.beats(&reconcilers).await;
    assert!(!world.names().contains(&name));
    assert_eq!(world.phases().values().filter(|phase| *phase == "Ready").count(), 5, "{:?}", world.phases());
    assert_eq!((world.provider.reboots(&name), world.provider.made()), (1, 6));
    let actions: Vec<_> = world.pool()["status"]["repairs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|order| order["action"].clone())
        .collect();
    assert_eq!(actions, ["Reboot", "Replace"]);
    assert!(said(&world).starts_with("True Idle"), "{}", said(&world));

    // What was known of it is kept, though it is gone.
    let kept = evidence(&world);
    let names: Vec<_> = kept.iter().map(|one| one["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, [format!("{name}-reboot"), format!("{name}-replace")]);
    assert!(kept[0]["data"]["console.log"].as_str().unwrap().starts_with("the console of "));
    assert!(kept[0]["data"]["conditions.txt"].as_str().unwrap().starts_with("Ready=Unknown "));
    world.delete_pool().await;
    assert!(evidence(&world).is_empty(), "it goes with the pool");
}

#[tokio::test(start_paused = true)]
async fn a_node_that_a_reboot_has_helped_is_forgiven_in_the_end() {
    let (world, reconcilers, name) = watched().await;
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    world.wait(300);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 1);
    world.says_ready(&name, "True");
    world.beats(&reconcilers).await;
    // Not ready again soon: a reboot does not help this one.
    world.wait(600);
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    assert_eq!(machine(&world, &name)["status"]["repair"]["reboots"], 1);
    world.says_ready(&name, "True");
    world.beats(&reconcilers).await;
    world.wait(3601);
    world.beats(&reconcilers).await;
    assert_eq!(machine(&world, &name)["status"]["repair"]["reboots"], 0);
    assert_eq!(world.pool()["status"]["repairs"], Value::Null, "an hour is over");
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    world.wait(300);
    world.beats(&reconcilers).await;
    assert_eq!((world.provider.reboots(&name), world.provider.made()), (2, 5));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_is_drained_first_and_comes_back_uncordoned() {
    let (world, reconcilers, name) = watched().await;
    world.held.lock().unwrap().insert(format!("app-{name}"));
    world.says_ready(&name, "False");
    world.beats(&reconcilers).await;
    world.wait(300);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 0);
    let drained = machine(&world, &name);
    assert_eq!(drained["status"]["phase"], "Draining");
    assert!(World::condition(&drained, Draining).contains("disruption budget"), "{drained:#}");
    assert!(said(&world).contains(&format!("being rebooted: {name}")), "{}", said(&world));
    assert_eq!(evidence(&world).len(), 1);
    world.held.lock().unwrap().clear();
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 1);
    let node = crate::kubelets::node(&world.fake, &name).unwrap();
    assert_eq!(node["spec"]["unschedulable"], false);
    assert_eq!(machine(&world, &name)["status"]["phase"], "NotReady");
    world.says_ready(&name, "True");
    world.beats(&reconcilers).await;
    assert_eq!(machine(&world, &name)["status"]["phase"], "Ready");
}

#[tokio::test(start_paused = true)]
async fn an_order_that_nobody_needs_any_more_is_called_off_and_counted() {
    let (world, reconcilers, name) = watched().await;
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    world.wait(300);
    // The pool orders; before the machine hears of it the node is back.
    world.beat(&reconcilers).await;
    assert_eq!(world.pool()["status"]["repairs"].as_array().unwrap().len(), 1);
    assert_eq!(world.provider.reboots(&name), 0);
    world.says_ready(&name, "True");
    world.beats(&reconcilers).await;
    let record = machine(&world, &name)["status"]["repair"].clone();
    assert_eq!((world.provider.reboots(&name), &record["reboots"]), (0, &json!(0)));
    assert_eq!(record["last"], world.pool()["status"]["repairs"][0]["at"], "and it stays called off");
}

#[tokio::test(start_paused = true)]
async fn when_it_is_not_the_nodes_nothing_is_done() {
    let (world, reconcilers, name) = watched().await;
    let names = world.names();
    // Of five two may be.
    names[..3].iter().for_each(|name| world.says_ready(name, "Unknown"));
    world.beats(&reconcilers).await;
    world.wait(10_000);
    world.beats(&reconcilers).await;
    let text = said(&world);
    assert!(
        text.starts_with("False TooManyUnhealthy: 3 nodes are unhealthy") && text.contains(&name),
        "{text}"
    );
    assert!(text.contains("SKEP-8064"), "{text}");
    // One comes back. The others get the time that any node gets, from now on.
    world.says_ready(&names[2], "True");
    world.beats(&reconcilers).await;
    assert!(said(&world).starts_with("True Watching"), "{}", said(&world));
    world.wait(290);
    world.beats(&reconcilers).await;
    assert_eq!(names.iter().map(|name| world.provider.reboots(name)).sum::<usize>(), 0);
    world.wait(10);
    world.beats(&reconcilers).await;
    assert_eq!(names.iter().map(|name| world.provider.reboots(name)).sum::<usize>(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_saw_is_not_judged() {
    let (world, reconcilers, name) = watched().await;
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    // The operator is away, and comes back as a new process.
    drop(reconcilers);
    world.wait(10_000);
    let reconcilers = world.reconcilers(world.fake.client());
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 0);
    // The cluster sleeps, or is broken.
    let serves = |ready: &str| {
        world.fake.edit("clusters.skep.dev", "default", "demo", |cluster| {
            cluster["status"]["conditions"][0]["status"] = json!(ready);
        });
    };
    serves("False");
    world.wait(10_000);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 0);
    let text = said(&world);
    assert!(text.starts_with("Unknown NotSeen: nothing is judged: cluster demo does not serve"), "{text}");
    serves("True");
    world.says_ready(&name, "True");
    world.beats(&reconcilers).await;
    assert!(said(&world).starts_with("True Idle") && world.provider.reboots(&name) == 0, "{}", said(&world));
}

#[tokio::test(start_paused = true)]
async fn a_person_keeps_a_broken_machine_to_himself() {
    let (world, reconcilers, name) = watched().await;
    world.change("machines.skep.dev", &name, |spec| spec["repair"] = json!("Exempt"));
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    world.wait(10_000);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&name), 0);
    assert_eq!(said(&world), format!("True Watching: exempt, left to a person: {name}"));
}

#[tokio::test(start_paused = true)]
async fn the_policy_off_and_the_policy_reboot() {
    let (world, reconcilers, name) = watched().await;
    world.change_pool(|spec| spec["repair"]["policy"] = json!("Off"));
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    world.wait(10_000);
    world.beats(&reconcilers).await;
    assert_eq!(said(&world), format!("False Off: repair.policy is Off; not ready: {name}"));
    world.change_pool(|spec| spec["repair"]["policy"] = json!("Reboot"));
    world.beats(&reconcilers).await;
    world.wait(10_000);
    world.beats(&reconcilers).await;
    assert_eq!((world.provider.reboots(&name), world.names().contains(&name)), (1, true));
    let text = said(&world);
    assert!(
        text.starts_with("True Helpless: ") && text.contains(&name) && text.contains("SKEP-8066"),
        "{text}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_node_with_signs_of_failing_is_evacuated_if_the_pool_wants_that() {
    let (world, reconcilers, name) = watched().await;
    world.change_node(&name, |node| {
        node["status"]["conditions"].as_array_mut().unwrap().push(json!(
            {"type": "ReadonlyFilesystem", "status": "True", "reason": "FilesystemIsReadOnly", "message": "remounted"}));
    });
    world.beats(&reconcilers).await;
    world.wait(10_000);
    world.beats(&reconcilers).await;
    assert_eq!(
        said(&world),
        format!("True Watching: signs of failing, only reported: {name} (ReadonlyFilesystem)")
    );
    assert_eq!(machine(&world, &name)["status"]["failureSigns"][0]["message"], "remounted");
    // Its pods leave as their budgets allow, and not sooner.
    world.held.lock().unwrap().insert(format!("app-{name}"));
    world.change_pool(|spec| spec["repair"]["failureSigns"] = json!("Evacuate"));
    world.beats(&reconcilers).await;
    assert!(machine(&world, &name)["metadata"]["deletionTimestamp"].is_string());
    assert!(world.pods().contains(&format!("app-{name}")));
    assert_eq!(
        world.phases().values().filter(|phase| *phase == "Ready").count(),
        5,
        "another one is made first"
    );
    world.held.lock().unwrap().clear();
    world.beats(&reconcilers).await;
    assert!(!world.names().contains(&name) && world.names().len() == 5);
    assert_eq!(evidence(&world)[0]["metadata"]["name"], format!("{name}-evacuate"));
    assert_eq!(world.provider.reboots(&name), 0);
}

#[tokio::test(start_paused = true)]
async fn a_machine_that_never_joins_is_rebooted_and_replaced_too() {
    let world = World::with_pool(3).await;
    let reconcilers = world.reconcilers(world.fake.client());
    world.provider.mute(Some("v1.36.3"));
    world.beats(&reconcilers).await;
    let names = world.names();
    assert!(world.phases().values().all(|phase| phase == "Joining"), "{:?}", world.phases());
    // One of them alone: three at once are not the machines' fault.
    world.provider.mute(None);
    let mute = names[0].clone();
    world.provider.set_state(&mute, skep_infra::State::Stopped);
    world.beats(&reconcilers).await;
    world.provider.mute(Some("v1.36.3"));
    world.provider.set_state(&mute, skep_infra::State::Running);
    world.beats(&reconcilers).await;
    assert_eq!(world.phases()[&mute], "Joining");
    world.wait(890);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&mute), 0, "it has more time than a node that was there");
    world.wait(10);
    world.beats(&reconcilers).await;
    assert_eq!(world.provider.reboots(&mute), 1);
    assert_eq!(world.pool()["status"]["repairs"][0]["because"], "NeverJoined");
    world.provider.mute(None);
    world.provider.set_state(&mute, skep_infra::State::Stopped);
    world.wait(900);
    world.provider.mute(Some("v1.36.3"));
    world.provider.set_state(&mute, skep_infra::State::Running);
    world.beats(&reconcilers).await;
    world.provider.mute(None);
    world.beats(&reconcilers).await;
    assert!(!world.names().contains(&mute) && world.names().len() == 3, "{:?}", world.phases());
    assert!(world.phases().values().all(|phase| phase == "Ready"), "{:?}", world.phases());
}

#[tokio::test(start_paused = true)]
async fn of_evidence_the_oldest_goes() {
    let (world, reconcilers, name) = watched().await;
    for number in 10..40 {
        world.fake.plant(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"namespace": "default",
            "name": format!("old-{number}"), "creationTimestamp": format!("2020-01-01T00:00:{number}Z"), "labels": {
            "skep.dev/cluster": "demo", "skep.dev/pool": "workers", "skep.dev/evidence": "old"}}}));
    }
    world.says_ready(&name, "Unknown");
    world.beats(&reconcilers).await;
    world.wait(300);
    world.beats(&reconcilers).await;
    let kept: Vec<String> =
        evidence(&world).iter().map(|one| one["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    assert_eq!(kept.len(), 20, "{kept:?}");
    assert!(kept.contains(&format!("{name}-reboot")) && !kept.contains(&"old-20".to_owned()), "{kept:?}");
    assert!(kept.contains(&"old-21".to_owned()), "{kept:?}");
}
