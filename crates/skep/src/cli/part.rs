//! Parts of Skep as programs of their own, for cells that are ordinary Kubernetes clusters.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::values;

/// What every part needs to know.
#[derive(Clone, Debug, Args)]
pub struct Common {
    /// Address of metrics and health endpoints
    #[arg(long, env = "SKEP_METRICS_LISTEN", value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9090")]
    pub metrics_listen: SocketAddr,
    /// What is logged, like info or skep_gateway=debug
    #[arg(long, env = "SKEP_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Log as JSON lines
    #[arg(long, env = "SKEP_LOG_JSON")]
    pub log_json: bool,
}

/// `skep operator`
#[derive(Clone, Debug, Args)]
pub struct Operator {
    #[command(flatten)]
    pub common: Common,
    /// URL of the gateway as tenants' clients reach it
    #[arg(long, env = "SKEP_GATEWAY_URL", value_name = "URL", value_parser = values::gateway_url)]
    pub gateway_url: String,
    /// URL of the gateway as pods of the cell reach it [default: the same]
    #[arg(long, env = "SKEP_GATEWAY_INSIDE_URL", value_name = "URL", value_parser = values::gateway_url)]
    pub gateway_inside_url: Option<String>,
    /// Domain under which tenants are named
    #[arg(long, env = "SKEP_DOMAIN", default_value = skep_api::DEFAULT_DOMAIN, value_parser = values::domain)]
    pub domain: String,
    /// Most control planes that start at the same time; each takes seconds of a core
    #[arg(long, env = "SKEP_STARTS", value_name = "NUMBER", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub starts: u32,
    /// Name of this copy in leader election [default: the host's name]
    #[arg(long, env = "SKEP_IDENTITY", value_name = "NAME")]
    pub identity: Option<String>,
    /// Where autoscalers of clusters are served; without it clusters get none
    #[arg(
        long,
        env = "SKEP_AUTOSCALER_LISTEN",
        value_name = "ADDRESS:PORT",
        requires = "autoscaler_address",
        requires = "autoscaler_relay_image"
    )]
    pub autoscaler_listen: Option<SocketAddr>,
    /// How pods of the cell reach that
    #[arg(long, env = "SKEP_AUTOSCALER_ADDRESS", value_name = "HOST:PORT")]
    pub autoscaler_address: Option<String>,
    /// Image of cluster-autoscaler [default: upstream's]
    #[arg(long, env = "SKEP_AUTOSCALER_IMAGE", value_name = "IMAGE")]
    pub autoscaler_image: Option<String>,
    /// Image of Skep, for the relay beside it
    #[arg(long, env = "SKEP_AUTOSCALER_RELAY_IMAGE", value_name = "IMAGE")]
    pub autoscaler_relay_image: Option<String>,
    /// YAML file that says what the hypervisors of each zone have left
    #[arg(long, env = "SKEP_AUTOSCALER_STOCK", value_name = "FILE")]
    pub autoscaler_stock: Option<PathBuf>,
    /// Namespace of the lease
    #[arg(long, env = "SKEP_NAMESPACE", default_value = skep_api::SYSTEM_NAMESPACE)]
    pub namespace: String,
}

/// `skep vnode`
#[derive(Clone, Debug, Args)]
pub struct Vnode {
    #[command(flatten)]
    pub common: Common,
    /// What runs the pods
    #[arg(long, env = "SKEP_NODE_BACKEND", value_enum, default_value_t = Backend::Process)]
    pub backend: Backend,
    /// Name of the node; of hollow nodes what stands before their numbers
    #[arg(long, env = "SKEP_NODE_NAME")]
    pub name: String,
    /// Zone of the node
    #[arg(long, env = "SKEP_NODE_ZONE", default_value = "a")]
    pub zone: String,
    /// Which of the eight address ranges of the network the node has, from 0 to 7
    #[arg(long, env = "SKEP_NODE_INDEX", default_value_t = 0)]
    pub index: u8,
    /// Loopback network of the pods
    #[arg(long, env = "SKEP_NETWORK", default_value = "127.64.0.0/16")]
    pub network: skep_plan::address::LoopbackNet,
    /// Directory of the node's state
    #[arg(long, env = "SKEP_NODE_DIR", value_name = "DIR", required_unless_present = "count")]
    pub node_dir: Option<PathBuf>,
    /// Serving certificate of the kubelet endpoint
    #[arg(long, env = "SKEP_NODE_CERT", value_name = "FILE", required_unless_present = "count")]
    pub tls_cert: Option<PathBuf>,
    /// Its key
    #[arg(long, env = "SKEP_NODE_KEY", value_name = "FILE", required_unless_present = "count")]
    pub tls_key: Option<PathBuf>,
    /// Common name of the API server's client certificate
    #[arg(long, env = "SKEP_NODE_API_SERVER", default_value = "kube-apiserver-kubelet-client")]
    pub api_server_name: String,
    /// Authority of the API server's client certificate
    #[arg(long, env = "SKEP_NODE_CLIENT_CA", value_name = "FILE", required_unless_present = "count")]
    pub client_ca: Option<PathBuf>,
    #[command(flatten)]
    pub hollow: Hollow,
}

/// What runs the pods of a virtual node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Backend {
    /// Processes of this machine
    Process,
    /// Nothing: nodes and pods exist in the API only, for tests of scale
    Hollow,
}

/// Options of `skep vnode --backend hollow`
#[derive(Clone, Debug, Args)]
pub struct Hollow {
    /// Hollow nodes to play, named NAME-0, NAME-1 …
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..=20_000))]
    pub count: Option<u32>,
    /// Zones they are spread over, besides --zone
    #[arg(long, value_name = "ZONE", value_delimiter = ',', requires = "count")]
    pub zones: Vec<String>,
    /// Processors that each offers
    #[arg(long, value_name = "QUANTITY", default_value = "4", requires = "count")]
    pub cpu: String,
    /// Memory that each offers
    #[arg(long, value_name = "QUANTITY", default_value = "16Gi", requires = "count")]
    pub memory: String,
    /// Pods that each takes
    #[arg(long, value_name = "NUMBER", default_value_t = 110, requires = "count")]
    pub pods: u32,
    /// File that says how long things take and how often they fail
    #[arg(long, value_name = "FILE", requires = "count")]
    pub hollow_config: Option<PathBuf>,
}

/// `skep node`
#[derive(Clone, Debug, Subcommand)]
pub enum Node {
    /// Run this machine as a node: containerd, kubelet, kube-proxy, the way to the API server
    Agent(Agent),
    /// Print the line that makes a node of a machine you have
    Join(Join),
    /// Make volumes on the disk of the node this runs on, for cells without a storage class
    Volumes(Volumes),
}

/// `skep node volumes`
#[derive(Clone, Debug, Args)]
pub struct Volumes {
    #[command(flatten)]
    pub common: Common,
    /// Name of the node
    #[arg(long, env = "SKEP_NODE_NAME")]
    pub name: String,
    /// Directory of the volumes; the kubelet knows it under the same path
    #[arg(long, value_name = "DIR")]
    pub dir: PathBuf,
}

/// `skep node join`
#[derive(Clone, Debug, Args)]
pub struct Join {
    #[command(flatten)]
    pub named: super::cluster::Named,
    /// Cluster that a new machine joins
    #[arg(long, short = 'c')]
    pub cluster: Option<String>,
    /// Machine class of a new machine, with provider Static
    #[arg(long)]
    pub class: Option<String>,
    /// Zone that a new machine stands in [default: the first of its class]
    #[arg(long)]
    pub zone: Option<String>,
}

/// `skep node agent`
#[derive(Clone, Debug, Args)]
pub struct Agent {
    /// File that says how to join the cluster, - for standard input; holds a secret [default: the one followed before]
    #[arg(long, value_name = "FILE")]
    pub join: Option<PathBuf>,
    /// File that says what machine this is [default: the agent finds out]
    #[arg(long, value_name = "FILE", requires = "join")]
    pub host: Option<PathBuf>,
    /// Run it as a service of systemd, from now on and after every boot; where there is no systemd, it stays in the foreground
    #[arg(long, conflicts_with = "host")]
    pub service: bool,
    /// What is logged, like info or skep_agent=debug
    #[arg(long, env = "SKEP_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
}
