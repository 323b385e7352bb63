//! What an agent is told: by the operator how to join ([`Join`]), by the infrastructure what machine it is on ([`Host`]).

use std::{net::Ipv4Addr, path::PathBuf};

use serde::{Deserialize, Serialize};
pub use skep_api::resources::{KubeProxyMode, PodNetwork};
use skep_api::{NodeTemplate, machine_class::MachineCapacity};

/// How to become a node of a cluster. The same for every infrastructure; holds a secret (the token).
#[derive(Serialize, Deserialize, Clone, PartialEq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Join {
    /// Name of the node.
    pub node: String,
    /// The cluster to join.
    pub cluster: ClusterFacts,
    /// Bootstrap token, `id.secret`, good for this node only.
    pub token: String,
    /// What the node is like; its version is always set.
    pub template: NodeTemplate,
    /// Zone, for the node's label.
    pub zone: String,
    /// Labels besides the template's: pool and the like.
    pub labels: std::collections::BTreeMap<String, String>,
    /// What the machine offers. A machine that has more still reports this.
    pub capacity: MachineCapacity,
    /// URL of the one registry that images are pulled from, whatever registry their names say, like
    /// `http://198.19.3.1:5000`. Without one each image comes from where its name says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<String>,
}

/// What a node has to know of its cluster.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClusterFacts {
    /// URL of the gateway as nodes reach it, like `https://198.19.3.1:6443`.
    pub server: String,
    /// The tenant's name at the gateway: SNI, and what the API server's certificate says.
    pub host: String,
    /// The cluster's certificate authorities, PEM.
    pub authorities: String,
    /// Address under which the API server is advertised in the cluster; the agent makes it lead to the gateway.
    pub api_server_address: Ipv4Addr,
    /// Range of Services.
    pub service_cidr: String,
    /// Range of pods.
    pub pod_cidr: String,
    /// DNS domain.
    pub cluster_domain: String,
    /// Address of the DNS Service.
    pub cluster_dns: Ipv4Addr,
    /// How pods of different nodes reach each other.
    pub pod_network: PodNetwork,
    /// How kube-proxy works.
    pub kube_proxy: KubeProxyMode,
}

/// The machine the agent is on, as its infrastructure made it. Nothing secret.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Host {
    /// Address in the nodes' network.
    pub address: Ipv4Addr,
    /// Interface that has it.
    pub interface: String,
    /// `spec.providerID` of the node.
    pub provider_id: String,
    /// Directory for everything the agent and its programs write.
    pub state: PathBuf,
    /// Below this cgroup everything of the node runs, as the agent sees it: `/` on a machine of its own, and where a cgroup
    /// namespace begins.
    pub cgroup_root: String,
    /// Others use the machine's memory and disk too: what the kernel says of them is not the node's.
    #[serde(default)]
    pub shared: bool,
    /// Somebody brought the machine: when its node is deleted, nobody but the agent ends what runs on it.
    #[serde(default)]
    pub brought: bool,
    /// Directory with kubelet and kube-proxy of the node's version.
    pub kubernetes: PathBuf,
    /// Directory with containerd, containerd-shim-runc-v2 and ctr.
    pub containerd: PathBuf,
    /// Directory with the CNI plugins bridge, host-local, loopback and portmap.
    pub cni: PathBuf,
}

impl std::fmt::Debug for Join {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Join")
            .field("node", &self.node)
            .field("cluster", &self.cluster.host)
            .finish_non_exhaustive()
    }
}
