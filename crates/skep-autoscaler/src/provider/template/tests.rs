//! A node that is not there yet.

use std::sync::Arc;

use serde_json::json;
use skep_api::Machine;

use super::*;

fn pool(change: impl FnOnce(&mut NodePool)) -> NodePool {
    let mut pool = serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool",
        "metadata": {"name": "web", "namespace": "team", "uid": "p-1"},
        "spec": {
            "cluster": "demo", "replicas": 0, "scaling": {"min": 0, "max": 5},
            "template": {
                "machineClass": "small",
                "labels": {"tier": "web"},
                "taints": [{"key": "dedicated", "value": "web", "effect": "NoSchedule"}],
                "kubelet": {"reservedCpu": "250m", "reservedMemory": "512Mi"},
            },
        },
    }))
    .unwrap();
    change(&mut pool);
    pool
}

fn state(machines: &[(&str, &str)]) -> State {
    let class = serde_json::from_value(json!({
        "provider": "Local", "zones": ["a", "b"],
        "capacity": {"cpu": "2", "memory": "2Gi", "ephemeralStorage": "10Gi", "pods": 60},
    }))
    .unwrap();
    let machine = |(name, zone): &(&str, &str)| -> Machine {
        serde_json::from_value(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "Machine",
            "metadata": {"name": name, "namespace": "team", "ownerReferences": [{
                "apiVersion": "skep.dev/v1alpha1", "kind": "NodePool", "name": "web", "uid": "p-1", "controller": true,
            }]},
            "spec": {"cluster": "demo", "zone": zone, "template": {"machineClass": "small"}},
        }))
        .unwrap()
    };
    State {
        pools: Arc::default(),
        machines: Arc::new(machines.iter().map(machine).collect()),
        classes: Arc::new([("small".to_owned(), class)].into()),
    }
}

#[test]
fn a_pool_without_nodes_says_what_one_would_be_like() {
    let node = node(&pool(|_| {}), &state(&[])).unwrap();
    let metadata = node.metadata.unwrap();
    assert_eq!(metadata.name, "web-template");
    for (key, value) in [
        ("kubernetes.io/hostname", "web-template"),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", ARCHITECTURE),
        ("topology.kubernetes.io/zone", "a"),
        ("node.kubernetes.io/instance-type", "small"),
        ("skep.dev/pool", "web"),
        ("tier", "web"),
    ] {
        assert_eq!(metadata.labels.get(key).map(String::as_str), Some(value), "{key}");
    }
    let taint = Taint { key: "dedicated".into(), value: "web".into(), effect: "NoSchedule".into() };
    assert_eq!(node.spec.unwrap().taints, [taint]);
    let status = node.status.unwrap();
    let of = |amounts: &BTreeMap<String, Quantity>| {
        ["cpu", "memory", "ephemeral-storage", "pods"].map(|name| amounts[name].string.clone())
    };
    assert_eq!(of(&status.capacity), ["2", "2Gi", "10Gi", "60"]);
    assert_eq!(of(&status.allocatable), ["1750m", "1610612736", "10737418240", "60"]);
    assert_eq!(
        (status.conditions[0].r#type.as_str(), status.conditions[0].status.as_str()),
        ("Ready", "True")
    );
}

#[test]
fn its_zone_is_that_of_the_next_machine() {
    let zone = |pool: &NodePool, machines: &[(&str, &str)]| {
        node(pool, &state(machines)).unwrap().metadata.unwrap().labels["topology.kubernetes.io/zone"].clone()
    };
    assert_eq!(zone(&pool(|_| {}), &[("m1", "a")]), "b");
    assert_eq!(zone(&pool(|_| {}), &[("m1", "a"), ("m2", "b")]), "a");
    assert_eq!(zone(&pool(|pool| pool.spec.zones = vec!["b".into()]), &[("m1", "b")]), "b");
    let named = pool(|pool| pool.spec.scaling.as_mut().unwrap().remove = vec!["m1".into()]);
    assert_eq!(zone(&named, &[("m1", "a"), ("m2", "b")]), "a");
}

#[test]
fn pods_are_as_the_kubelet_is_told() {
    let pool = pool(|pool| pool.spec.template.kubelet.max_pods = Some(20));
    let status = node(&pool, &state(&[])).unwrap().status.unwrap();
    assert_eq!(
        (status.capacity["pods"].string.as_str(), status.allocatable["pods"].string.as_str()),
        ("20", "20")
    );
}

#[test]
fn without_its_class_nothing_is_said() {
    let error =
        node(&pool(|pool| pool.spec.template.machine_class = "huge".into()), &state(&[])).unwrap_err();
    assert_eq!(error.code().number(), 8100);
}
