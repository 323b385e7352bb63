//! `skep autoscaler`: what upstream's cluster-autoscaler talks to.

use std::{net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand};

use super::part::Common;

/// `skep autoscaler`
#[derive(Clone, Debug, Subcommand)]
pub enum Autoscaler {
    /// Serve the node pools of a cluster to cluster-autoscaler (--cloud-provider=externalgrpc)
    Provider(Provider),
    /// Choose which node pool grows, for cluster-autoscaler (--expander=grpc)
    Expander(Expander),
    /// Pass cluster-autoscaler's calls of an expander on, with a certificate
    Relay(Relay),
}

/// What both need.
#[derive(Clone, Debug, Args)]
pub struct Served {
    #[command(flatten)]
    pub common: Common,
    /// Cluster whose node pools are scaled
    #[arg(long, short = 'c', env = "SKEP_AUTOSCALER_CLUSTER", value_name = "NAME")]
    pub cluster: String,
    /// Its project (namespace of the hub)
    #[arg(
        long,
        short = 'n',
        visible_alias = "namespace",
        env = "SKEP_AUTOSCALER_PROJECT",
        default_value = "default"
    )]
    pub project: String,
    /// Serving certificate
    #[arg(long, env = "SKEP_AUTOSCALER_CERT", value_name = "FILE")]
    pub tls_cert: PathBuf,
    /// Its key
    #[arg(long, env = "SKEP_AUTOSCALER_KEY", value_name = "FILE")]
    pub tls_key: PathBuf,
}

/// `skep autoscaler provider`
#[derive(Clone, Debug, Args)]
pub struct Provider {
    #[command(flatten)]
    pub served: Served,
    /// Address for cluster-autoscaler
    #[arg(
        long,
        env = "SKEP_AUTOSCALER_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8086"
    )]
    pub listen: SocketAddr,
    /// Authority of clients' certificates: whoever has one of it may scale
    #[arg(long, env = "SKEP_AUTOSCALER_CLIENT_CA", value_name = "FILE")]
    pub client_ca: PathBuf,
}

/// `skep autoscaler expander`
#[derive(Clone, Debug, Args)]
pub struct Expander {
    #[command(flatten)]
    pub served: Served,
    /// Address for cluster-autoscaler, which shows no certificate here
    #[arg(
        long,
        env = "SKEP_AUTOSCALER_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8087"
    )]
    pub listen: SocketAddr,
    /// YAML file that says what the hypervisors of each zone have left
    #[arg(long, env = "SKEP_AUTOSCALER_STOCK", value_name = "FILE")]
    pub stock: Option<PathBuf>,
}

/// `skep autoscaler relay`
#[derive(Clone, Debug, Args)]
pub struct Relay {
    /// What is logged, like info or skep_autoscaler=debug
    #[arg(long, env = "SKEP_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,
    /// Log as JSON lines
    #[arg(long, env = "SKEP_LOG_JSON")]
    pub log_json: bool,
    /// Address for cluster-autoscaler; it is in the certificate that is shown there
    #[arg(
        long,
        env = "SKEP_AUTOSCALER_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:8087"
    )]
    pub listen: SocketAddr,
    /// The expander
    #[arg(long, env = "SKEP_AUTOSCALER_TO", value_name = "HOST:PORT")]
    pub to: String,
    /// Directory with expander-ca.crt and .key, provider.crt and .key, provider-ca.crt
    #[arg(long, env = "SKEP_AUTOSCALER_FILES", value_name = "DIR")]
    pub files: PathBuf,
}
