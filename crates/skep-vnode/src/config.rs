//! What a node, and a process with several nodes, is told.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kube::Client;
use skep_plan::address::LoopbackNet;
use tokio_util::sync::CancellationToken;

use crate::backend::{HaltStage, PodBackend};
use crate::node::object::Capacity;
use crate::node::pressure::Limits;
use crate::pods::watch::PodWatch;
use crate::server::{Access, KubeletTls};

/// Port of a kubelet's endpoint.
pub const KUBELET_PORT: u16 = 10_250;
/// Pods on one node when nothing else is said: every pod is a few processes, not a virtual machine.
pub const DEFAULT_PODS: u32 = 500;

/// What the nodes of one process share.
#[derive(Clone)]
pub struct HostConfig {
    /// The API server they belong to.
    pub client: Client,
    /// Where pods and nodes have their addresses.
    pub net: LoopbackNet,
    /// TLS of the nodes' endpoints.
    pub tls: Arc<KubeletTls>,
    /// Who may use the endpoints.
    pub access: Access,
    /// How pods are watched.
    pub pod_watch: PodWatch,
    /// Environment every container gets before its own.
    pub env: Vec<(String, String)>,
    /// Directory of local volumes; none: this process provisions none.
    pub volumes: Option<PathBuf>,
    /// Directory whose file system counts as the nodes' disk.
    pub data_dir: PathBuf,
    /// When memory, disk or process ids count as scarce.
    pub limits: Limits,
    /// What happens to the pods at the shutdown: they are halted in these stages, on all nodes together, until the next
    /// run; without any they go on.
    pub halt: Vec<HaltStage>,
    /// Cancelled when the API server has heard how every pod it had at the start stands now.
    pub reported: CancellationToken,
}

impl HostConfig {
    /// The defaults: callers as an API server is usually named, each node watches its own pods, volumes below the data
    /// directory, pods go on after the shutdown.
    #[must_use]
    pub fn new(client: Client, net: LoopbackNet, tls: Arc<KubeletTls>, data_dir: PathBuf) -> Self {
        Self {
            client,
            net,
            tls,
            access: Access::default(),
            pod_watch: PodWatch::default(),
            env: Vec::new(),
            volumes: Some(data_dir.join("volumes")),
            data_dir,
            limits: Limits::default(),
            halt: Vec::new(),
            reported: CancellationToken::new(),
        }
    }
}

/// One node.
#[derive(Clone)]
pub struct NodeConfig {
    /// Its name.
    pub name: String,
    /// Its zone (`topology.kubernetes.io/zone`).
    pub zone: String,
    /// Its place in the pod network: 0 to 7, different for every node of the installation.
    pub index: u8,
    /// More labels.
    pub labels: BTreeMap<String, String>,
    /// What it offers; none: the whole machine.
    pub capacity: Option<Capacity>,
    /// Pods it takes, when `capacity` does not say.
    pub max_pods: u32,
    /// Port of its endpoint.
    pub port: u16,
    /// What runs its pods.
    pub backend: Arc<dyn PodBackend>,
}

impl NodeConfig {
    /// A node with the whole machine to offer.
    #[must_use]
    pub fn new(name: &str, zone: &str, index: u8, backend: Arc<dyn PodBackend>) -> Self {
        Self {
            name: name.to_owned(),
            zone: zone.to_owned(),
            index,
            labels: BTreeMap::new(),
            capacity: None,
            max_pods: DEFAULT_PODS,
            port: KUBELET_PORT,
            backend,
        }
    }
}
