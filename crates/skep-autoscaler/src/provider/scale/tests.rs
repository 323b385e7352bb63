//! Sizes and names, on pools and machines that are only written down.

use proptest::prelude::*;
use serde_json::json;
use skep_api::machine::MachinePhase;

use super::*;

fn pool(replicas: i32, remove: &[&str]) -> NodePool {
    serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool",
        "metadata": {"name": "web", "namespace": "team", "uid": "p-1", "resourceVersion": "7"},
        "spec": {
            "cluster": "demo", "replicas": replicas, "scaling": {"min": 1, "max": 5, "remove": remove},
            "template": {"machineClass": "small"},
        },
    }))
    .unwrap()
}

/// `phase` is also what decides whether it has a node.
fn machine(name: &str, owner: &str, phase: MachinePhase) -> Machine {
    let joined = matches!(phase, MachinePhase::Ready | MachinePhase::NotReady);
    serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Machine",
        "metadata": {
            "name": name, "namespace": "team", "uid": format!("m-{name}"),
            "ownerReferences": [{
                "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "name": "web", "uid": owner, "controller": true,
            }],
        },
        "spec": {"cluster": "demo", "zone": "a", "template": {"machineClass": "small"}},
        "status": {
            "phase": phase, "node": joined.then_some(name),
            "providerId": (phase != MachinePhase::Pending).then(|| format!("skep-local://{name}")),
        },
    }))
    .unwrap()
}

fn ready(names: &[&str]) -> Vec<Machine> {
    names.iter().map(|name| machine(name, "p-1", MachinePhase::Ready)).collect()
}

fn node(name: &str) -> ExternalGrpcNode {
    ExternalGrpcNode {
        provider_id: format!("skep-local://{name}"),
        name: name.to_owned(),
        labels: [(labels::POOL.to_owned(), "web".to_owned())].into(),
    }
}

fn change(replicas: i32, remove: &[&str]) -> Option<Change> {
    Some(Change { replicas, remove: remove.iter().map(|name| (*name).to_owned()).collect() })
}

#[test]
fn a_pool_grows_within_its_bounds() {
    let pool = pool(3, &[]);
    assert_eq!(increase(&pool, &[], 2).unwrap(), change(5, &[]));
    for (delta, code) in [(3, 8093), (i32::MAX, 8093), (0, 8095), (-1, 8095), (i32::MIN, 8095)] {
        assert_eq!(increase(&pool, &[], delta).unwrap_err().code().number(), code, "{delta}");
    }
}

#[test]
fn exactly_the_named_nodes_go() {
    let machines = ready(&["a", "b", "c"]);
    assert_eq!(delete(&pool(3, &[]), &machines, &[node("b")]).unwrap(), change(2, &["b"]));
    assert_eq!(
        delete(&pool(3, &[]), &machines, &[node("b"), node("b")]).unwrap(),
        change(2, &["b"]),
        "twice"
    );
    assert_eq!(delete(&pool(2, &["b"]), &machines, &[node("b")]).unwrap(), None, "it is named already");
    assert_eq!(delete(&pool(2, &["b"]), &machines, &[node("b"), node("c")]).unwrap(), change(1, &["b", "c"]));
    assert_eq!(delete(&pool(2, &["b"]), &ready(&["a", "c"]), &[node("b")]).unwrap(), None, "it is gone");
    let forgotten = delete(&pool(2, &["b"]), &ready(&["a", "c"]), &[node("c")]).unwrap();
    assert_eq!(forgotten, change(1, &["c"]), "names of machines that are gone are not kept");
    let mut going = ready(&["a", "b", "c"]);
    going[1].metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    assert_eq!(delete(&pool(3, &[]), &going, &[node("b")]).unwrap(), None, "somebody else has deleted it");
}

#[test]
fn nothing_goes_when_one_may_not() {
    let machines = ready(&["a", "b", "c"]);
    let refused = |nodes: &[ExternalGrpcNode], machines: &[Machine]| {
        delete(&pool(3, &[]), machines, nodes).unwrap_err().code().number()
    };
    assert_eq!(refused(&[node("a"), node("b"), node("c")], &machines), 8093, "below min");
    let mut with_foreign = ready(&["a", "b"]);
    with_foreign.push(machine("c", "p-2", MachinePhase::Ready));
    assert_eq!(refused(&[node("a"), node("c")], &with_foreign), 8094, "of another pool");
    let stranger = ExternalGrpcNode { labels: Default::default(), ..node("x") };
    assert_eq!(refused(&[node("a"), stranger], &machines), 8094, "of nobody");
    assert_eq!(refused(&vec![node("a"); NODES + 1], &machines), 8095);
}

#[test]
fn an_instance_without_a_node_is_named_by_its_id() {
    let machines = [machine("a", "p-1", MachinePhase::Pending), machine("b", "p-1", MachinePhase::Failed)];
    let fake = |id: &str| ExternalGrpcNode { provider_id: id.into(), name: id.into(), ..Default::default() };
    let of = |id: &str| delete(&pool(2, &[]), &machines, &[fake(id)]).unwrap();
    assert_eq!(of("skep-machine://team/a"), change(1, &["a"]));
    assert_eq!(of("skep-local://b"), change(1, &["b"]));
    assert_eq!(of("skep-machine://team/b"), change(1, &["b"]), "by the id it had before");
    assert_eq!(of("skep-machine://team/gone"), None);
}

#[test]
fn a_request_that_was_not_fulfilled_is_taken_back_without_touching_nodes() {
    let mut machines = ready(&["a", "b"]);
    machines.push(machine("c", "p-1", MachinePhase::Joining));
    machines.push(machine("d", "p-1", MachinePhase::Failed));
    machines[1] = machine("b", "p-1", MachinePhase::NotReady);
    assert_eq!(decrease(&pool(5, &[]), &machines, -1).unwrap(), change(4, &[]), "the fifth was never made");
    assert_eq!(decrease(&pool(5, &[]), &machines, -2).unwrap(), change(3, &["d"]));
    assert_eq!(decrease(&pool(5, &[]), &machines, -3).unwrap(), change(2, &["d", "c"]));
    assert_eq!(decrease(&pool(5, &[]), &machines, -4).unwrap_err().code().number(), 8099);
    assert_eq!(decrease(&pool(1, &[]), &[], -1).unwrap_err().code().number(), 8093, "below min");
    assert_eq!(decrease(&pool(5, &[]), &machines, 1).unwrap_err().code().number(), 8095);
}

#[test]
fn names_are_bounded() {
    let names: Vec<String> = (0..NAMED).map(|n| format!("m{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut machines = ready(&names);
    machines.extend(ready(&["one-more"]));
    let error = delete(&pool(3, &names), &machines, &[node("one-more")]).unwrap_err();
    assert_eq!(error.code().number(), 8101);
}

proptest! {
    /// Whatever is asked, in whatever order and however often: the size stays in its bounds, and is what it was less one for
    /// each machine that was named.
    #[test]
    fn every_named_machine_is_counted_once(calls in prop::collection::vec(prop::collection::vec(0..5_usize, 0..3), 0..8)) {
        let all = ["a", "b", "c", "d", "e"];
        let machines = ready(&all);
        let mut now = pool(5, &[]);
        for call in calls {
            let nodes: Vec<_> = call.iter().map(|at| node(all[*at])).collect();
            if let Ok(Some(change)) = delete(&now, &machines, &nodes) {
                now.spec.replicas = Some(change.replicas);
                now.spec.scaling.as_mut().unwrap().remove = change.remove;
            }
            let named: BTreeSet<&String> = now.spec.scaling.as_ref().unwrap().remove.iter().collect();
            let size = replicas(&now.spec);
            prop_assert_eq!(named.len(), now.spec.scaling.as_ref().unwrap().remove.len());
            prop_assert_eq!(size + named.len(), 5);
            prop_assert!((1..=5).contains(&size));
        }
    }
}
