//! Pure: what a new node of a pool would be like, so that a pool can grow from nothing.

use std::collections::BTreeMap;

use kube::ResourceExt as _;
use skep_agent::quantity;
use skep_api::machine_class::MachineCapacity;
use skep_api::{MachineClassSpec, NodePool, labels};
use skep_node::pool::is_of;

use crate::Error;
use crate::hub::State;
use crate::proto::core::{
    Node, NodeCondition, NodeSpec, NodeStatus, NodeSystemInfo, ObjectMeta, Quantity, Taint,
};

/// The architecture of nodes, as Kubernetes calls it: the operator's own, because its programs are built for one.
const ARCHITECTURE: &str = match std::env::consts::ARCH.as_bytes() {
    b"aarch64" => "arm64",
    _ => "amd64",
};
const OS: &str = "linux";

/// A node as if just started.
pub(super) fn node(pool: &NodePool, state: &State) -> Result<Node, Error> {
    let name = &pool.spec.template.machine_class;
    let unknown = |reason: &str| Error::NoTemplate {
        pool: pool.name_any(),
        class: name.clone(),
        reason: reason.to_owned(),
    };
    let class = state.classes.get(name).ok_or_else(|| unknown("is not there"))?;
    let allocatable =
        allocatable(pool, &class.capacity).ok_or_else(|| unknown("has a quantity that is none"))?;
    let zone = zone(pool, class, state).ok_or_else(|| unknown("has no zone"))?;
    // No node may have it: the scheduler's simulation would take them for one.
    let node_name = format!("{}-template", pool.name_any());
    let capacity = &class.capacity;
    let amounts = [
        ("cpu", capacity.cpu.clone()),
        ("memory", capacity.memory.clone()),
        ("ephemeral-storage", capacity.ephemeral_storage.clone()),
        ("pods", pods(pool, capacity).to_string()),
    ];
    Ok(Node {
        metadata: Some(ObjectMeta {
            labels: node_labels(pool, zone, &node_name),
            name: node_name,
            namespace: String::new(),
        }),
        spec: Some(NodeSpec { taints: taints(pool) }),
        status: Some(NodeStatus {
            capacity: quantities(amounts),
            allocatable: quantities(allocatable),
            conditions: vec![NodeCondition { r#type: "Ready".to_owned(), status: "True".to_owned() }],
            node_info: Some(NodeSystemInfo {
                operating_system: OS.to_owned(),
                architecture: ARCHITECTURE.to_owned(),
            }),
        }),
    })
}

/// Where the next machine would stand: the zone with the fewest, the first of them among equals, as the pool itself chooses.
fn zone<'a>(pool: &'a NodePool, class: &'a MachineClassSpec, state: &State) -> Option<&'a str> {
    let zones = if pool.spec.zones.is_empty() { &class.zones } else { &pool.spec.zones };
    let live = |zone: &str| {
        let there = state.machines.iter().filter(|machine| is_of(pool, machine));
        there.filter(|machine| machine.spec.zone == zone && !super::instance::leaves(pool, machine)).count()
    };
    zones.iter().min_by_key(|zone| live(zone)).map(String::as_str)
}

fn node_labels(pool: &NodePool, zone: &str, name: &str) -> BTreeMap<String, String> {
    let class = pool.spec.template.machine_class.as_str();
    let pool_name = pool.name_any();
    let given = [
        ("kubernetes.io/hostname", name),
        ("kubernetes.io/os", OS),
        ("kubernetes.io/arch", ARCHITECTURE),
        ("beta.kubernetes.io/os", OS),
        ("beta.kubernetes.io/arch", ARCHITECTURE),
        ("topology.kubernetes.io/zone", zone),
        ("node.kubernetes.io/instance-type", class),
        (labels::POOL, &pool_name),
    ];
    let given = given.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    pool.spec.template.labels.clone().into_iter().chain(given).collect()
}

fn taints(pool: &NodePool) -> Vec<Taint> {
    let taint = |taint: &skep_api::machine::Taint| Taint {
        key: taint.key.clone(),
        value: taint.value.clone(),
        effect: taint.effect.to_string(),
    };
    pool.spec.template.taints.iter().map(taint).collect()
}

fn pods(pool: &NodePool, capacity: &MachineCapacity) -> i32 {
    pool.spec.template.kubelet.max_pods.unwrap_or(capacity.pods)
}

/// What pods can have: the class less what the template reserves, as the node agent makes it
/// (`skep-agent/src/build/reserve.rs`). `None` for what is no quantity.
fn allocatable(pool: &NodePool, capacity: &MachineCapacity) -> Option<[(&'static str, String); 4]> {
    let kubelet = &pool.spec.template.kubelet;
    let less = |whole: &str, kept: Option<&String>, read: fn(&str) -> Option<u64>| {
        let kept = kept.map_or(Some(0), |kept| read(kept))?;
        Some(read(whole)?.saturating_sub(kept))
    };
    Some([
        ("cpu", format!("{}m", less(&capacity.cpu, kubelet.reserved_cpu.as_ref(), quantity::milli)?)),
        ("memory", less(&capacity.memory, kubelet.reserved_memory.as_ref(), quantity::units)?.to_string()),
        ("ephemeral-storage", less(&capacity.ephemeral_storage, None, quantity::units)?.to_string()),
        ("pods", pods(pool, capacity).to_string()),
    ])
}

fn quantities(amounts: [(&str, String); 4]) -> BTreeMap<String, Quantity> {
    amounts.into_iter().map(|(name, string)| (name.to_owned(), Quantity { string })).collect()
}

#[cfg(test)]
mod tests;
