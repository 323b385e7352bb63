//! Commands about clusters and the catalogue.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::values::Span;
use crate::output::format::Format;

/// A cluster or node pool and the project it belongs to.
#[derive(Clone, Debug, Args)]
pub struct Named {
    /// Its name
    pub name: String,
    /// Project (namespace of the hub)
    #[arg(long, short = 'n', visible_alias = "namespace", default_value = "default")]
    pub project: String,
}

/// `skep create`
#[derive(Clone, Debug, Subcommand)]
pub enum Create {
    /// Create a cluster and wait until it is ready
    Cluster(CreateCluster),
    /// Create nodes for a cluster and wait until they are ready
    Nodepool(CreateNodePool),
}

/// `skep create nodepool`
#[derive(Clone, Debug, Args)]
pub struct CreateNodePool {
    #[command(flatten)]
    pub named: Named,
    /// Cluster that gets the nodes
    #[arg(long, short = 'c')]
    pub cluster: String,
    /// How many nodes; 1, or the fewest that autoscaling leaves, when not set
    #[arg(long)]
    pub replicas: Option<i32>,
    /// Fewest nodes that autoscaling leaves
    #[arg(long, requires = "max", default_value_if("max", clap::builder::ArgPredicate::IsPresent, "0"))]
    pub min: Option<i32>,
    /// Most nodes that autoscaling brings; without it the pool is not scaled
    #[arg(long)]
    pub max: Option<i32>,
    /// Machine class; see `skep get machineclasses`
    #[arg(long, value_name = "CLASS")]
    pub class: String,
    /// Zones to spread over, like a,b; all of the class when not set
    #[arg(long, value_delimiter = ',')]
    pub zones: Vec<String>,
    /// Kubernetes version of the nodes; the control plane's when not set
    #[arg(long)]
    pub version: Option<String>,
    /// Return as soon as the hub has accepted it
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait, like 90s or 5m
    #[arg(long, default_value = "5m")]
    pub timeout: Span,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `skep create cluster`
#[derive(Clone, Debug, Args)]
pub struct CreateCluster {
    #[command(flatten)]
    pub named: Named,
    /// Kubernetes version, like v1.36.3; the channel decides when not set
    #[arg(long, conflicts_with = "channel")]
    pub version: Option<String>,
    /// Where new versions come from
    #[arg(long, value_enum, ignore_case = true)]
    pub channel: Option<ChannelArg>,
    /// Size class; the profile's when not set
    #[arg(long, value_name = "CLASS")]
    pub size: Option<String>,
    /// Profile with the defaults
    #[arg(long)]
    pub profile: Option<String>,
    /// How many copies run; the profile's when not set
    #[arg(long, value_enum)]
    pub availability: Option<AvailabilityArg>,
    /// Return as soon as the hub has accepted it
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait, like 90s or 5m
    #[arg(long, default_value = "5m")]
    pub timeout: Span,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `--channel`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ChannelArg {
    /// The newest stable release.
    Stable,
    /// The newest release that is stable or in preview.
    Preview,
}

/// `--availability`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum AvailabilityArg {
    /// One copy of each part.
    Single,
    /// Two copies in different zones.
    HighlyAvailable,
}

/// `skep get`
#[derive(Clone, Debug, Args)]
pub struct Get {
    /// What to list
    #[arg(value_enum)]
    pub kind: Kind,
    /// Only the one of this name
    pub name: Option<String>,
    /// Project (namespace of the hub)
    #[arg(long, short = 'n', visible_alias = "namespace", conflicts_with = "all_projects")]
    pub project: Option<String>,
    /// In all projects
    #[arg(long, short = 'A', visible_alias = "all-namespaces")]
    pub all_projects: bool,
    /// Only those with these labels, like team=web
    #[arg(long, short = 'l')]
    pub selector: Option<String>,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// Kinds that can be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// Clusters of a project.
    #[value(alias = "cluster", alias = "skc")]
    Clusters,
    /// Node pools of a project.
    #[value(name = "nodepools", alias = "nodepool", alias = "np")]
    NodePools,
    /// Machines of a project.
    #[value(alias = "machine", alias = "mac")]
    Machines,
    /// Machine classes.
    #[value(name = "machineclasses", alias = "machineclass", alias = "mcl")]
    MachineClasses,
    /// Control planes of the cell.
    #[value(name = "controlplanes", alias = "controlplane", alias = "skcp")]
    ControlPlanes,
    /// Datastores of the cell.
    #[value(alias = "datastore", alias = "skds")]
    Datastores,
    /// Size classes.
    #[value(name = "sizeclasses", alias = "sizeclass", alias = "szc")]
    SizeClasses,
    /// Profiles.
    #[value(alias = "profile", alias = "clusterprofiles", alias = "clusterprofile")]
    Profiles,
    /// Releases.
    #[value(alias = "release", alias = "rel")]
    Releases,
}

/// `skep describe`
#[derive(Clone, Debug, Subcommand)]
pub enum Describe {
    /// A cluster: conditions, control plane, pods, events, pending changes
    Cluster(Named),
    /// A datastore: conditions, pods, events
    Datastore {
        /// Name of the datastore
        name: String,
        /// Namespace
        #[arg(long, short = 'n', default_value = skep_api::SYSTEM_NAMESPACE)]
        namespace: String,
    },
}

/// `skep delete`
#[derive(Clone, Debug, Subcommand)]
pub enum Delete {
    /// Delete a cluster with all its data
    Cluster(DeleteNamed),
    /// Drain and delete the nodes of a pool
    Nodepool(DeleteNamed),
}

/// `skep delete cluster`, `skep delete nodepool`
#[derive(Clone, Debug, Args)]
pub struct DeleteNamed {
    #[command(flatten)]
    pub named: Named,
    /// Return as soon as the hub has accepted it
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait, like 90s or 5m
    #[arg(long, default_value = "5m")]
    pub timeout: Span,
    /// It is no error when it does not exist
    #[arg(long)]
    pub ignore_not_found: bool,
}

/// `skep wait`
#[derive(Clone, Debug, Subcommand)]
pub enum Wait {
    /// Wait for a cluster
    Cluster(WaitFor),
    /// Wait for a node pool
    Nodepool(WaitFor),
}

/// `skep wait cluster`, `skep wait nodepool`
#[derive(Clone, Debug, Args)]
pub struct WaitFor {
    #[command(flatten)]
    pub named: Named,
    /// What to wait for
    #[arg(long = "for", value_enum, default_value_t = Goal::Ready)]
    pub goal: Goal,
    /// How long to wait, like 90s or 5m
    #[arg(long, default_value = "5m")]
    pub timeout: Span,
}

/// `--for`
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Goal {
    /// It serves and is as its spec says.
    Ready,
    /// It is gone.
    Deleted,
}

/// `skep use`
#[derive(Clone, Debug, Args)]
pub struct Use {
    #[command(flatten)]
    pub named: Named,
    /// Name of the context [default: skep-PROJECT-NAME]
    #[arg(long)]
    pub context: Option<String>,
}

/// `skep plan`
#[derive(Clone, Debug, Args)]
pub struct Plan {
    /// File with Cluster and NodePool objects; - for stdin
    #[arg(long, short)]
    pub file: PathBuf,
    /// Project of objects that name none
    #[arg(long, short = 'n', visible_alias = "namespace", default_value = "default")]
    pub project: String,
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}
