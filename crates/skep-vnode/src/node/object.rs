//! The `Node` object of a virtual node. Pure.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    DaemonEndpoint, Node, NodeAddress, NodeCondition, NodeDaemonEndpoints, NodeStatus, NodeSystemInfo,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};

use super::machine::Machine;
use super::pressure::Pressures;

/// Label that says which backend runs the pods.
pub const VIRTUAL_NODE: &str = "skep.dev/virtual-node";
/// What a 1.36 API server looks for before it passes WebSockets through to a node
/// (`pkg/registry/core/pod/rest/subresources.go`).
const WEBSOCKETS: &str = "ExtendWebSocketsToKubelet";

/// What a node offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Thousandths of processors.
    pub cpu_milli: u64,
    /// Bytes.
    pub memory: u64,
    /// Bytes.
    pub ephemeral_storage: u64,
    /// Pods.
    pub pods: u32,
}

impl Capacity {
    /// The whole machine.
    #[must_use]
    pub fn of(machine: &Machine, pods: u32) -> Self {
        Self { cpu_milli: machine.cpus * 1000, memory: machine.memory, ephemeral_storage: machine.disk, pods }
    }

    /// As the API writes it.
    #[must_use]
    pub fn list(&self) -> BTreeMap<String, Quantity> {
        let cpu = match self.cpu_milli % 1000 {
            0 => (self.cpu_milli / 1000).to_string(),
            _ => format!("{}m", self.cpu_milli),
        };
        BTreeMap::from([
            ("cpu".to_owned(), Quantity(cpu)),
            ("memory".to_owned(), Quantity(format!("{}Ki", self.memory / 1024))),
            ("ephemeral-storage".to_owned(), Quantity(format!("{}Ki", self.ephemeral_storage / 1024))),
            ("pods".to_owned(), Quantity(self.pods.to_string())),
        ])
    }
}

/// Everything the object depends on.
pub struct NodeFacts<'a> {
    /// Its name, also its host name label.
    pub name: &'a str,
    /// Its zone.
    pub zone: &'a str,
    /// Short name of its backend.
    pub backend: &'a str,
    /// More labels.
    pub labels: &'a BTreeMap<String, String>,
    /// Its address.
    pub address: Ipv4Addr,
    /// Where its endpoint listens.
    pub port: u16,
    /// What it offers.
    pub capacity: &'a Capacity,
    /// The machine.
    pub machine: &'a Machine,
    /// Version of the API server it serves: what it reports as its own.
    pub version: &'a str,
}

/// All labels of the node.
#[must_use]
pub fn labels(facts: &NodeFacts<'_>) -> BTreeMap<String, String> {
    let own = [
        ("kubernetes.io/hostname", facts.name),
        ("kubernetes.io/os", "linux"),
        ("kubernetes.io/arch", facts.machine.architecture.as_str()),
        ("topology.kubernetes.io/zone", facts.zone),
        (VIRTUAL_NODE, facts.backend),
    ];
    let own = own.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned()));
    facts.labels.clone().into_iter().chain(own).collect()
}

/// The object to create.
#[must_use]
pub fn node(facts: &NodeFacts<'_>) -> Node {
    Node {
        metadata: ObjectMeta {
            name: Some(facts.name.to_owned()),
            labels: Some(labels(facts)),
            ..ObjectMeta::default()
        },
        ..Node::default()
    }
}

/// The status, conditions apart.
#[must_use]
pub fn status(facts: &NodeFacts<'_>) -> NodeStatus {
    let address = |type_: &str, address: String| NodeAddress { type_: type_.to_owned(), address };
    let machine = facts.machine;
    NodeStatus {
        addresses: Some(vec![
            address("InternalIP", facts.address.to_string()),
            address("Hostname", facts.name.to_owned()),
        ]),
        capacity: Some(facts.capacity.list()),
        allocatable: Some(facts.capacity.list()),
        daemon_endpoints: Some(NodeDaemonEndpoints {
            kubelet_endpoint: Some(DaemonEndpoint { port: i32::from(facts.port) }),
        }),
        declared_features: Some(vec![WEBSOCKETS.to_owned()]),
        node_info: Some(NodeSystemInfo {
            architecture: machine.architecture.clone(),
            boot_id: machine.boot_id.clone(),
            container_runtime_version: format!("skep-{}://{}", facts.backend, env!("CARGO_PKG_VERSION")),
            kernel_version: machine.kernel.clone(),
            kubelet_version: facts.version.to_owned(),
            machine_id: machine.machine_id.clone(),
            operating_system: "linux".to_owned(),
            os_image: machine.os_image.clone(),
            system_uuid: machine.system_uuid.clone(),
            ..NodeSystemInfo::default()
        }),
        ..NodeStatus::default()
    }
}

/// Why a node is not ready; empty when it is.
pub type NotReady = Vec<String>;

/// The four conditions of a node, with times carried over from `old`.
#[must_use]
pub fn conditions(
    pressures: Pressures<bool>,
    not_ready: &NotReady,
    old: &[NodeCondition],
    now: Timestamp,
) -> Vec<NodeCondition> {
    let ready = not_ready.is_empty();
    let message = if ready { "kubelet is posting ready status".to_owned() } else { not_ready.join("; ") };
    let pressure = |type_, holds, bad: (&str, &str), good: (&str, &str)| {
        let (reason, message) = if holds { bad } else { good };
        (type_, holds, reason.to_owned(), message.to_owned())
    };
    let verdicts = [
        pressure(
            "MemoryPressure",
            pressures.memory,
            ("KubeletHasInsufficientMemory", "kubelet has insufficient memory available"),
            ("KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        ),
        pressure(
            "DiskPressure",
            pressures.disk,
            ("KubeletHasDiskPressure", "kubelet has disk pressure"),
            ("KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        ),
        pressure(
            "PIDPressure",
            pressures.pids,
            ("KubeletHasInsufficientPID", "kubelet has insufficient PID available"),
            ("KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        ),
        ("Ready", ready, if ready { "KubeletReady" } else { "KubeletNotReady" }.to_owned(), message),
    ];
    let condition = |(type_, holds, reason, message): (&str, bool, String, String)| {
        let status = if holds { "True" } else { "False" };
        let same = old.iter().find(|known| known.type_ == type_ && known.status == status);
        NodeCondition {
            type_: type_.to_owned(),
            status: status.to_owned(),
            reason: Some(reason),
            message: Some(message),
            last_heartbeat_time: Some(Time(now)),
            last_transition_time: same
                .and_then(|known| known.last_transition_time.clone())
                .or(Some(Time(now))),
        }
    };
    verdicts.into_iter().map(condition).collect()
}

/// Whether a node's conditions say what ours say, heartbeats apart. Others may have added conditions of their own.
#[must_use]
pub fn has_conditions(theirs: &[NodeCondition], ours: &[NodeCondition]) -> bool {
    let essence =
        |c: &NodeCondition| (c.type_.clone(), c.status.clone(), c.reason.clone(), c.message.clone());
    ours.iter().all(|our| theirs.iter().any(|their| essence(their) == essence(our)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn capacity_is_written_as_upstream_writes_it() {
        let capacity = Capacity { cpu_milli: 1500, memory: 3 << 20, ephemeral_storage: 1 << 30, pods: 110 };
        let list = capacity.list();
        assert_eq!((list["cpu"].0.as_str(), list["memory"].0.as_str()), ("1500m", "3072Ki"));
        assert_eq!(Capacity { cpu_milli: 2000, ..capacity }.list()["cpu"].0, "2");
    }

    #[test]
    fn labels_of_the_node_cannot_be_overridden() {
        let machine = Machine { architecture: "amd64".into(), ..Machine::default() };
        let capacity = Capacity::of(&machine, 10);
        let given = BTreeMap::from([("kubernetes.io/hostname".into(), "x".into()), ("a".into(), "b".into())]);
        let facts = NodeFacts {
            name: "skep-a",
            zone: "a",
            backend: "process",
            labels: &given,
            address: [127, 64, 255, 1].into(),
            port: 10250,
            capacity: &capacity,
            machine: &machine,
            version: "v1.36.3",
        };
        let labels = labels(&facts);
        assert_eq!(labels["kubernetes.io/hostname"], "skep-a");
        assert_eq!(labels[VIRTUAL_NODE], "process");
        assert_eq!(labels["a"], "b");
        let info = status(&facts).node_info.unwrap();
        assert_eq!(info.kubelet_version, "v1.36.3");
    }

    #[test]
    fn conditions_keep_their_times_until_they_turn() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let calm = conditions(Pressures::default(), &Vec::new(), &[], at(1));
        let later = conditions(Pressures::default(), &Vec::new(), &calm, at(2));
        assert!(has_conditions(&calm, &later));
        let mut lost = calm.clone();
        lost.reverse();
        assert!(has_conditions(&lost, &later), "in any order");
        lost[0].status = "Unknown".to_owned();
        assert!(!has_conditions(&lost, &later));
        assert!(!has_conditions(&[], &later));
        assert!(later.iter().all(|condition| condition.last_transition_time == Some(Time(at(1)))));
        let bad = conditions(Pressures::default(), &vec!["no list".into()], &later, at(3));
        let ready = bad.iter().find(|condition| condition.type_ == "Ready").unwrap();
        assert_eq!((ready.status.as_str(), ready.message.as_deref()), ("False", Some("no list")));
        assert_eq!(ready.last_transition_time, Some(Time(at(3))));
    }
}
