//! Objects for the tests of node pools.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use skep_api::machine_class::{MachineCapacity, Provider};
use skep_api::node_pool::{NodePoolSpec, UpdateStrategy};
use skep_api::{MachineClassSpec, NodeTemplate};

use super::{ClusterState, Facts, Goal, Health, Member, Share, Versions};

pub(super) fn template(class: &str) -> NodeTemplate {
    NodeTemplate {
        machine_class: class.into(),
        version: None,
        labels: BTreeMap::new(),
        taints: Vec::new(),
        kubelet: Default::default(),
        runtimes: Vec::new(),
    }
}

pub(super) fn class(zones: &[&str]) -> MachineClassSpec {
    MachineClassSpec {
        provider: Provider::Local,
        capacity: MachineCapacity {
            cpu: "2".into(),
            memory: "2Gi".into(),
            ephemeral_storage: "10Gi".into(),
            pods: 110,
        },
        zones: zones.iter().map(|zone| (*zone).to_owned()).collect(),
        hourly_price: None,
    }
}

pub(super) fn spec(replicas: i32) -> NodePoolSpec {
    NodePoolSpec {
        cluster: "demo".into(),
        replicas: Some(replicas),
        scaling: None,
        zones: Vec::new(),
        template: template("local-small"),
        update: Default::default(),
        drain: Default::default(),
        repair: Default::default(),
    }
}

pub(super) fn facts() -> Facts {
    let version = |text: &str| text.parse().unwrap();
    Facts {
        cluster: ClusterState::Decided(Versions {
            serving: Some(version("v1.36.3")),
            wanted: version("v1.36.3"),
        }),
        classes: [("local-small", class(&["a", "b", "c"])), ("edge", class(&["d"]))]
            .map(|(name, class)| (name.to_owned(), class))
            .into(),
        releases: ["v1.36.3", "v1.35.4", "v1.32.1", "v1.37.0"].map(version).into(),
    }
}

pub(super) fn goal(replicas: usize, strategy: UpdateStrategy) -> Goal {
    Goal {
        replicas,
        zones: ["a", "b", "c"].map(str::to_owned).into(),
        zones_are_asked_for: false,
        template: NodeTemplate { version: Some("v1.36.3".into()), ..template("local-small") },
        version: "v1.36.3".parse().unwrap(),
        strategy,
        remove: Vec::new(),
        surge: Share::Number(1),
        unavailable: Share::Number(0),
        tried: None,
    }
}

/// A machine as `goal` wants it, ready, `age` seconds old.
pub(super) fn member(goal: &Goal, name: &str, zone: &str, age: i64) -> Member {
    Member {
        name: name.into(),
        zone: zone.into(),
        template: goal.template.clone(),
        created: Timestamp::from_second(1_000_000_000 - age).unwrap(),
        health: Health::Ready,
        leaving: false,
        changing: false,
        untried: false,
        unready: None,
    }
}
