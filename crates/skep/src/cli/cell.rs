//! Commands about cells.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::values::{self, Span};

/// `skep cell`
#[derive(Clone, Debug, Subcommand)]
pub enum Cell {
    /// Make a cell of a Kubernetes cluster, so that tenant clusters can be created in it
    Join(Join),
}

/// `skep cell join`
#[derive(Clone, Debug, Args)]
pub struct Join {
    /// Cluster of this hub that becomes a cell; it needs nodes
    #[arg(required_unless_present = "cell_kubeconfig")]
    pub cluster: Option<String>,
    /// Project of the cluster
    #[arg(long, short = 'n', visible_alias = "namespace", default_value = "default")]
    pub project: String,
    /// Kubeconfig of any other cluster that becomes a cell
    #[arg(long, value_name = "FILE", conflicts_with_all = ["cluster", "project"])]
    pub cell_kubeconfig: Option<PathBuf>,
    /// Image of this program that the cell's nodes can pull [default: the one that nodes of this installation find]
    #[arg(long, required_unless_present = "cluster")]
    pub image: Option<String>,
    /// URL of the cell's gateway as tenants' clients reach it [default: a node's address and the gateway's port there]
    #[arg(long, value_name = "URL", value_parser = values::gateway_url)]
    pub gateway_url: Option<String>,
    /// How the gateway is reached from outside of the cell
    #[arg(long, value_enum, default_value_t = GatewayService::NodePort)]
    pub gateway_service: GatewayService,
    /// The gateway's port on every node
    #[arg(long, value_name = "PORT", default_value_t = 30_443)]
    pub gateway_port: u16,
    /// Domain under which tenants are named
    #[arg(long, default_value = skep_api::DEFAULT_DOMAIN, value_parser = values::domain)]
    pub domain: String,
    /// Print what would be applied, and apply nothing
    #[arg(long)]
    pub print: bool,
    /// How long each part may take until it runs, like 90s or 5m
    #[arg(long, default_value = "5m")]
    pub timeout: Span,
}

/// `--gateway-service`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum GatewayService {
    /// A port of every node
    NodePort,
    /// A load balancer of the cell
    LoadBalancer,
    /// By other means
    ClusterIp,
}
