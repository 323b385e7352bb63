//! One word and one line for every state a machine can be in.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};
use skep_kubeops::Key;

use super::*;

fn now() -> Time {
    Time("2026-11-21T10:00:00Z".parse::<Timestamp>().unwrap())
}

fn machine(status: Value) -> Machine {
    let template = json!({"machineClass": "local-small", "version": "v1.36.3"});
    let mut status = status;
    if status["made"] == true {
        status["template"] = template.clone();
    }
    serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Machine",
        "metadata": {"name": "m", "namespace": "team-a", "generation": 3},
        "spec": {"cluster": "demo", "zone": "a", "template": template}, "status": status,
    }))
    .unwrap()
}

fn node(ready: &str) -> Sight {
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "m"}, "status": {"conditions": [
        {"type": "Ready", "status": ready, "reason": "KubeletReady", "message": "as it is"}]}}))
    .unwrap();
    Sight::There(Arc::new(node))
}

fn ordered(state: State) -> Option<skep_infra::Machine> {
    Some(skep_infra::Machine { provider_id: "fake://m".into(), address: "198.19.1.7".parse().ok(), state })
}

fn word(status: Value, seen: Seen, failure: Option<&Error>) -> (MachinePhase, String) {
    let status = of(&machine(status), &seen, failure, &now());
    let ready = condition::get(&status.conditions, ConditionType::Ready).unwrap();
    (status.phase.unwrap(), format!("{} {}: {}", ready.status, ready.reason, ready.message))
}

#[test]
fn a_life_in_words() {
    let waits = Seen { waits: Some("cluster demo to be ready".into()), ..Seen::default() };
    let starting = State::Starting("it boots".into());
    for (old, seen, phase, line) in [
        (json!({}), waits, MachinePhase::Pending, "False Waiting: waits for cluster demo to be ready"),
        (
            json!({"made": true}),
            Seen { machine: ordered(starting), node: Sight::Absent, ..Seen::default() },
            MachinePhase::Provisioning,
            "False Starting: it boots",
        ),
        (
            json!({"made": true}),
            Seen { machine: ordered(State::Running), node: Sight::Absent, ..Seen::default() },
            MachinePhase::Joining,
            "False NotJoined: the node has not registered",
        ),
        (
            json!({"made": true}),
            Seen { machine: ordered(State::Running), node: node("False"), ..Seen::default() },
            MachinePhase::Joining,
            "False KubeletReady: the node says: as it is",
        ),
        (
            json!({"made": true}),
            Seen { machine: ordered(State::Running), node: node("True"), ..Seen::default() },
            MachinePhase::Ready,
            "True NodeReady: the node is ready",
        ),
        (
            json!({"made": true, "phase": "Ready"}),
            Seen { machine: ordered(State::Running), node: node("Unknown"), ..Seen::default() },
            MachinePhase::NotReady,
            "False KubeletReady: the node says: as it is",
        ),
        (
            json!({"made": true, "phase": "Ready", "node": "m"}),
            Seen { machine: ordered(State::Running), node: Sight::Absent, ..Seen::default() },
            MachinePhase::NotReady,
            "False NotJoined: the node has not registered",
        ),
        (
            json!({"made": true, "phase": "Ready"}),
            Seen {
                draining: Some(("Draining", "pods to leave: x".into())),
                node: node("True"),
                ..Seen::default()
            },
            MachinePhase::Draining,
            "False Draining: pods to leave: x",
        ),
    ] {
        assert_eq!(word(old, seen, None), (phase, line.to_owned()));
    }
}

#[test]
fn what_nobody_could_look_at_stays_as_it_was() {
    let away = Error::TenantAway { cluster: Key::namespaced("team-a", "demo") };
    let (phase, line) = word(json!({"made": true, "phase": "Ready"}), Seen::default(), Some(&away));
    assert_eq!((phase, line.as_str()), (MachinePhase::Ready, "True NodeReady: the node is ready"));
    let (phase, line) = word(json!({"made": true, "phase": "NotReady"}), Seen::default(), Some(&away));
    assert_eq!(
        (phase, line.as_str()),
        (MachinePhase::NotReady, "False TenantAway: cluster team-a/demo does not serve")
    );
}

#[test]
fn an_infrastructure_that_fails_is_no_fault_of_a_ready_node() {
    let failed = |_: &str| Error::Infrastructure {
        source: skep_infra::Error::Programs { version: "v1.36.3".into(), reason: "no disk".into() },
    };
    let never =
        word(json!({"made": true}), Seen { node: Sight::Absent, ..Seen::default() }, Some(&failed("")));
    assert_eq!(never.0, MachinePhase::Failed);
    assert!(never.1.contains("no disk") && never.1.contains("SKEP-8042"), "{}", never.1);
    let seen = Seen { node: node("True"), ..Seen::default() };
    assert_eq!(word(json!({"made": true, "phase": "Ready"}), seen, Some(&failed(""))).0, MachinePhase::Ready);
}

#[test]
fn another_machine_under_the_same_name_starts_with_nothing() {
    let old = json!({"made": true, "phase": "Ready", "node": "m", "providerId": "fake://old", "address": "198.19.1.9",
        "versions": {"kubelet": "v1.35.4"}, "observedGeneration": 2});
    let template = machine(json!({})).spec.template;
    let begun = begun(&machine(old.clone()), &template, &now());
    assert_eq!((begun.phase, begun.template), (Some(MachinePhase::Provisioning), Some(template)));
    assert_eq!((begun.node, begun.provider_id, begun.address, begun.versions), (None, None, None, None));
    let vacated =
        of(&machine(old), &Seen { vacated: true, node: Sight::Absent, ..Seen::default() }, None, &now());
    assert_eq!((vacated.template, vacated.phase), (None, Some(MachinePhase::Pending)));
}

#[test]
fn a_generation_is_observed_when_it_is_fulfilled() {
    let seen = || Seen { machine: ordered(State::Running), node: node("True"), ..Seen::default() };
    let done = of(&machine(json!({"made": true})), &seen(), None, &now());
    assert_eq!(done.observed_generation, Some(3));
    let mut changed = machine(json!({"made": true}));
    changed.spec.template.version = Some("v1.35.4".into());
    assert_eq!(of(&changed, &seen(), None, &now()).observed_generation, None);
}

#[test]
fn what_a_node_says_fits_into_our_schema() {
    let long = "x".repeat(10_000);
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "m"}, "status": {
        "conditions": [{"type": "Ready", "status": "perhaps", "reason": "not a reason!", "message": long}],
        "nodeInfo": {"kubeletVersion": long, "containerRuntimeVersion": long, "kernelVersion": long}}}))
    .unwrap();
    let seen = Seen { node: Sight::There(Arc::new(node)), ..Seen::default() };
    let status = of(&machine(json!({"made": true})), &seen, None, &now());
    let versions = status.versions.unwrap();
    assert_eq!(
        (versions.kubelet.len(), versions.container_runtime.len(), versions.kernel.len()),
        (64, 64, 128)
    );
    let said = condition::get(&status.conditions, ConditionType::NodeReady).unwrap();
    assert_eq!((said.status.as_str(), said.reason.as_str()), ("Unknown", "NotSaid"));
}
