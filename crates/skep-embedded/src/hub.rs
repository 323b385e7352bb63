//! What the hub's programs are started with: pure functions from paths and addresses to command lines and files.
//!
//! The choices that matter: nothing listens beyond loopback; nothing is sent to an address of a Service (the egress
//! selector lets the API server reach the virtual nodes only); no anonymous requests; what has no use in a cell is
//! switched off; controllers are tuned for latency, because one chain of them makes every tenant's control plane.

pub mod api_server;
pub mod controllers;
pub mod etcd;

use std::path::{Path, PathBuf};

use crate::{
    Layout, Result,
    pki::Pki,
    ports::{Ports, Purpose},
};

/// The programs of the hub, in the order they start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Program {
    /// etcd.
    Etcd,
    /// kube-apiserver.
    ApiServer,
    /// kube-controller-manager.
    ControllerManager,
    /// kube-scheduler.
    Scheduler,
}

impl Program {
    /// All of them, in the order they start; they stop in the opposite order.
    pub const ALL: [Self; 4] = [Self::Etcd, Self::ApiServer, Self::ControllerManager, Self::Scheduler];

    /// Name of the executable, the log and the record.
    pub fn name(self) -> &'static str {
        match self {
            Self::Etcd => "etcd",
            Self::ApiServer => "kube-apiserver",
            Self::ControllerManager => "kube-controller-manager",
            Self::Scheduler => "kube-scheduler",
        }
    }
}

/// Everything the command lines depend on.
#[derive(Clone, Debug)]
pub struct Hub {
    /// The data directory.
    pub layout: Layout,
    /// Its certificates.
    pub pki: Pki,
    /// Its ports.
    pub ports: Ports,
    /// Socket of the way to the virtual nodes, as Go names it.
    pub node_proxy: String,
}

/// A file that must be there before a program starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFile {
    /// Where.
    pub path: PathBuf,
    /// Its text.
    pub text: String,
}

impl Hub {
    /// URL of the hub's API server.
    ///
    /// # Errors
    /// When its port is not chosen.
    pub fn server(&self) -> Result<String> {
        Ok(format!("https://{}", self.ports.address(Purpose::ApiServer)?))
    }

    /// Arguments of a program.
    ///
    /// # Errors
    /// When a port is not chosen.
    pub fn args(&self, program: Program) -> Result<Vec<String>> {
        match program {
            Program::Etcd => etcd::args(self),
            Program::ApiServer => api_server::args(self),
            Program::ControllerManager => Ok(controllers::manager_args(self)),
            Program::Scheduler => Ok(controllers::scheduler_args(self)),
        }
    }

    /// Files a program reads besides certificates.
    ///
    /// # Errors
    /// When a port is not chosen or a kubeconfig cannot be written.
    pub fn files(&self, program: Program) -> Result<Vec<ConfigFile>> {
        match program {
            Program::Etcd => Ok(Vec::new()),
            Program::ApiServer => Ok(vec![api_server::egress(self)]),
            Program::ControllerManager => controllers::manager_files(self),
            Program::Scheduler => controllers::scheduler_files(self),
        }
    }

    /// A generated file.
    fn config(&self, name: &str) -> PathBuf {
        self.layout.config().join(name)
    }
}

/// `--flag=value`.
fn flag(name: &str, value: impl AsRef<str>) -> String {
    format!("--{name}={}", value.as_ref())
}

/// `--flag=path`.
fn path(name: &str, value: impl AsRef<Path>) -> String {
    flag(name, value.as_ref().to_string_lossy())
}

#[cfg(test)]
mod tests;
