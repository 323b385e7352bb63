//! Commands about the installation on this machine.

use std::{ffi::OsString, net::SocketAddr, path::PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use skep_plan::address::LoopbackNet;

use super::values;
use crate::output::format::Format;

/// `skep up`
#[derive(Clone, Debug, Args)]
pub struct Up {
    /// Stay in the foreground and log to stderr; an interrupt stops everything
    #[arg(long)]
    pub foreground: bool,
    /// Address of the gateway for tenants' clients [default: loopback, a free port that is kept]
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub gateway_listen: Option<SocketAddr>,
    /// URL of the gateway in kubeconfigs, when clients reach it by another address than it listens on
    #[arg(long, value_name = "URL", value_parser = values::gateway_url)]
    pub gateway_url: Option<String>,
    /// Loopback network of the pods, like 127.64.0.0/16 [default: a free one that is kept]
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<LoopbackNet>,
    /// Started by `skep up` itself: reports on stdout, leaves the terminal
    #[arg(long, hide = true)]
    pub daemon: bool,
}

/// `skep down`
#[derive(Clone, Debug, Args)]
pub struct Down {}

/// `skep status`
#[derive(Clone, Debug, Args)]
pub struct Status {
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: Format,
}

/// `skep logs`
#[derive(Clone, Debug, Args)]
pub struct Logs {
    /// skep, etcd, kube-apiserver, kube-controller-manager or kube-scheduler of the hub; or CLUSTER/COMPONENT of a tenant
    pub component: String,
    /// Go on as lines are written
    #[arg(long, short)]
    pub follow: bool,
    /// Lines from the end; -1 for all
    #[arg(long, default_value_t = 100, allow_negative_numbers = true)]
    pub tail: i64,
    /// Project of the cluster
    #[arg(long, short = 'n', visible_alias = "namespace", default_value = "default")]
    pub project: String,
}

/// `skep engine`
#[derive(Clone, Debug, Subcommand)]
pub enum Engine {
    /// List the programs that can be had and where they are
    List {
        /// Form of the output
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Make programs now instead of at their first use
    Build {
        /// Images like skep.dev/kube:v1.36.3, or versions like v1.36.3; everything when none is named
        images: Vec<String>,
    },
    /// Print the directory of the programs, making them if needed
    Path {
        /// Image like skep.dev/kube:v1.36.3, or a version like v1.36.3
        image: String,
    },
}

/// `skep image`
#[derive(Clone, Debug, Subcommand)]
pub enum Image {
    /// List the images that nodes can pull
    List {
        /// Form of the output
        #[arg(long, short, value_enum, default_value_t)]
        output: Format,
    },
    /// Take images in, from archives as `docker save` and others write them
    Load {
        /// Name of the image, instead of the one in the archive
        #[arg(long, short)]
        name: Option<String>,
        /// The archives
        #[arg(required = true)]
        archives: Vec<PathBuf>,
    },
    /// Write images as an OCI archive, which other container tools and registries take; Skep's own are made if need be
    Save {
        /// The archive
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// Names of images, like skep.dev/kube:v1.36.3
        #[arg(required = true)]
        names: Vec<String>,
    },
}

/// `skep kubectl`
#[derive(Clone, Debug, Args)]
#[command(disable_help_flag = true)]
pub struct Kubectl {
    /// What kubectl gets
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub args: Vec<OsString>,
}

/// `skep version`
#[derive(Clone, Debug, Args)]
pub struct Version {
    /// Form of the output
    #[arg(long, short, value_enum, default_value_t)]
    pub output: VersionFormat,
}

/// Forms of `skep version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum VersionFormat {
    /// Lines for people.
    #[default]
    Text,
    /// JSON.
    Json,
    /// YAML.
    Yaml,
}

/// `skep completion`
#[derive(Clone, Debug, Args)]
pub struct Completion {
    /// Shell
    pub shell: clap_complete::Shell,
}
