//! Parts that several kinds share.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Pattern of a Kubernetes quantity as Skep's own kinds take it: a positive number with an optional unit.
pub const QUANTITY: &str = r"^[0-9]+(\.[0-9]+)?(m|k|Ki|M|Mi|G|Gi|T|Ti)?$";
/// Pattern of a DNS label.
pub const DNS_LABEL: &str = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$";
/// Pattern of an image reference.
pub const IMAGE: &str =
    r"^[a-z0-9][a-z0-9./_-]*(:[0-9]+)?[a-z0-9./_-]*(:[A-Za-z0-9_.-]+)?(@sha256:[0-9a-f]{64})?$";

/// Requests and limits of one container. There is no CPU limit unless somebody sets one: a throttled API server is
/// slow for everybody, and requests already divide the CPU fairly.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ResourceBundle {
    /// CPU that is kept free for the container, like `100m`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub cpu_request: String,
    /// Memory that is kept free for the container, like `256Mi`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub memory_request: String,
    /// CPU the container can never exceed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub cpu_limit: Option<String>,
    /// Memory above which the container is killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub memory_limit: Option<String>,
    /// `GOMEMLIMIT` of the process: the garbage collector works harder above it, like `200MiB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 20), pattern(r"^[0-9]+(B|KiB|MiB|GiB)?$"))]
    pub go_mem_limit: Option<String>,
}

/// One command line flag of an upstream program, without its dashes.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Flag {
    /// Name as upstream documents it, without dashes: `max-requests-inflight`.
    #[schemars(length(min = 2, max = 80), pattern("^[a-z][a-z0-9-]*$"))]
    pub name: String,
    /// Value; may be empty.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// Whether Skep works on an object.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum Reconciliation {
    /// Skep brings the object to its spec and keeps it there.
    #[default]
    Active,
    /// Skep leaves the object and everything it owns alone, except for its deletion.
    Paused,
}

/// How many copies of a control plane run.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, Default, JsonSchema)]
pub enum Availability {
    /// One copy of each part: a lost node costs the time of a restart. Changes still lose no request.
    #[default]
    Single,
    /// Two API servers and two of each controller in different zones.
    HighlyAvailable,
}

/// How pods of different nodes reach each other.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum PodNetwork {
    /// A route to each node's pods. Nodes share a segment.
    HostGw,
    /// VXLAN between nodes, which need only reach each other (UDP 4789).
    Vxlan,
    /// Somebody else's CNI: nodes are not ready until it is there.
    None,
}

/// Mode of kube-proxy.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, Default, PartialEq, Eq, JsonSchema)]
pub enum KubeProxyMode {
    /// `nftables`.
    #[default]
    Nftables,
    /// `iptables`.
    Iptables,
}

/// Network of a tenant cluster. It cannot change after creation.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ClusterNetwork {
    /// Range of Service addresses, IPv4 in CIDR notation.
    #[serde(default = "default_service_cidr")]
    #[schemars(length(min = 9, max = 18), pattern(CIDR))]
    pub service_cidr: String,
    /// Range of pod addresses, IPv4 in CIDR notation.
    #[serde(default = "default_pod_cidr")]
    #[schemars(length(min = 9, max = 18), pattern(CIDR))]
    pub pod_cidr: String,
    /// DNS domain of the cluster.
    #[serde(default = "default_cluster_domain")]
    #[schemars(length(min = 1, max = 63), pattern(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub cluster_domain: String,
    /// Address under which the API server is advertised inside the cluster. Every node makes it lead to the gateway;
    /// no machine has it otherwise.
    #[serde(default = "default_api_server_address")]
    #[schemars(length(min = 7, max = 15), pattern(IPV4))]
    pub api_server_address: String,
    /// How pods of different nodes reach each other. What is best for the infrastructure of the nodes when not set: `HostGw`
    /// for all there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod_network: Option<PodNetwork>,
    /// How kube-proxy makes Services reachable; `Nftables` when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kube_proxy: Option<KubeProxyMode>,
}

/// Pattern of an IPv4 address.
pub const IPV4: &str = r"^([0-9]{1,3}\.){3}[0-9]{1,3}$";
/// Pattern of an IPv4 range.
pub const CIDR: &str = r"^([0-9]{1,3}\.){3}[0-9]{1,3}/[0-9]{1,2}$";

fn default_service_cidr() -> String {
    "10.96.0.0/16".to_owned()
}

fn default_pod_cidr() -> String {
    "10.244.0.0/16".to_owned()
}

fn default_cluster_domain() -> String {
    "cluster.local".to_owned()
}

/// In 198.18.0.0/15, which RFC 2544 sets aside for measurements inside one network: it is never routed.
fn default_api_server_address() -> String {
    "198.18.0.1".to_owned()
}

impl Default for ClusterNetwork {
    fn default() -> Self {
        Self {
            service_cidr: default_service_cidr(),
            pod_cidr: default_pod_cidr(),
            cluster_domain: default_cluster_domain(),
            api_server_address: default_api_server_address(),
            pod_network: None,
            kube_proxy: None,
        }
    }
}
