//! The command line: what can be typed. What it does is in [`crate::commands`].

pub mod autoscaler;
pub mod cell;
pub mod cluster;
pub mod gateway;
pub mod installation;
pub mod part;
mod values;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::exit::Exit;

/// Kubernetes clusters as a service.
#[derive(Debug, Parser)]
#[command(name = "skep", version, about, max_term_width = 100, after_help = Exit::HELP)]
pub struct Cli {
    #[command(flatten)]
    pub global: Global,
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct Global {
    /// Data directory of the local installation [default: $XDG_DATA_HOME/skep or ~/.local/share/skep]
    #[arg(long, global = true, env = "SKEP_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Kubeconfig of the hub [default: that of the local installation]
    #[arg(long, global = true, env = "SKEP_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Say nothing on stderr but errors
    #[arg(long, short = 'q', global = true)]
    pub quiet: bool,
}

/// The commands, in the order of the help text.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the installation on this machine: a hub and its first cell
    Up(installation::Up),
    /// Stop it; all data stays
    Down(installation::Down),
    /// Show how it is
    Status(installation::Status),
    /// Show the log of a component of the installation, or of a tenant's control plane
    Logs(installation::Logs),
    /// Create something
    #[command(subcommand)]
    Create(cluster::Create),
    /// List objects
    Get(cluster::Get),
    /// Show everything about one object
    #[command(subcommand)]
    Describe(cluster::Describe),
    /// Delete something
    #[command(subcommand)]
    Delete(cluster::Delete),
    /// Wait until an object is in a state
    #[command(subcommand)]
    Wait(cluster::Wait),
    /// Print the kubeconfig of a cluster
    Kubeconfig(cluster::Named),
    /// Bring a cluster into your own kubeconfig and make it the current one
    Use(cluster::Use),
    /// Show what applying a file would change and restart
    Plan(cluster::Plan),
    /// The programs of Kubernetes and etcd: where they come from
    #[command(subcommand)]
    Engine(installation::Engine),
    /// Container images for the nodes on this machine
    #[command(subcommand)]
    Image(installation::Image),
    /// Clusters that host tenants' control planes
    #[command(subcommand)]
    Cell(cell::Cell),
    /// Run kubectl against the hub
    Kubectl(installation::Kubectl),
    /// Print the custom resource definitions
    Crds,
    /// Print versions
    Version(installation::Version),
    /// Print completions for a shell
    Completion(installation::Completion),
    /// Run the operator as a program of its own
    Operator(part::Operator),
    /// Run the gateway as a program of its own
    Gateway(gateway::Gateway),
    /// Run a virtual node as a program of its own
    Vnode(part::Vnode),
    /// Serve upstream's cluster-autoscaler
    #[command(subcommand)]
    Autoscaler(autoscaler::Autoscaler),
    /// Programs that run on the nodes of a cluster
    #[command(subcommand)]
    Node(part::Node),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn help_is_reviewed() {
        insta::assert_snapshot!(Cli::command().render_help().to_string());
    }
}
