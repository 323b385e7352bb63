//! Why a machine cannot be made a node.

use std::{io, path::PathBuf};

use skep_api::Code;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why the agent cannot work on this machine. Nothing secret is in it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Not root.
    #[error("{code}: the node agent runs as user {user}, but a node needs root; start it as root ({page})", code = self.code(), page = self.code().page())]
    NotRoot {
        /// Numeric user id.
        user: u32,
    },
    /// Programs of the machine are missing.
    #[error("{code}: this machine has no {missing}; install it (runc, nftables or iptables, conntrack, iproute2, mount) and start the agent again ({page})", code = self.code(), page = self.code().page())]
    Programs {
        /// Their names, separated by commas.
        missing: String,
    },
    /// The kernel lacks something.
    #[error("{code}: the kernel of this machine has no {missing}; load or enable it, or use another machine ({page})", code = self.code(), page = self.code().page())]
    Kernel {
        /// What is missing, separated by commas.
        missing: String,
    },
    /// Programs of the node are missing from the directories the infrastructure named.
    #[error("{code}: the node's programs are incomplete: {missing}; remove the machine's engine directory and start the agent again ({page})", code = self.code(), page = self.code().page())]
    Engine {
        /// Full paths, separated by commas.
        missing: String,
    },
    /// What a person brought to their machine cannot be used.
    #[error("{code}: this invitation cannot be used: {why}; `skep node join` prints a new one ({page})", code = self.code(), page = self.code().page())]
    Invitation {
        /// What is wrong with it.
        why: String,
    },
    /// What the agent was told cannot be right.
    #[error("{code}: {field} of node {node} {why} ({page})", code = self.code(), page = self.code().page())]
    Settings {
        /// Name of the node.
        node: String,
        /// The field.
        field: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// A file or directory cannot be read or written.
    #[error("{code}: cannot {action} {}: {source}; check permissions and free space ({page})", path.display(), code = self.code(), page = self.code().page())]
    File {
        /// `read`, `write`, `make` …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another agent works in the same directory.
    #[error("{code}: another node agent works in {}; stop it first ({page})", path.display(), code = self.code(), page = self.code().page())]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// A mount failed.
    #[error("{code}: cannot mount {}: {source}; the agent needs the right to mount (CAP_SYS_ADMIN) ({page})", at.display(), code = self.code(), page = self.code().page())]
    Mount {
        /// Where.
        at: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The node's cgroup cannot be made.
    #[error("{code}: cannot set up cgroup {}: {source}; the agent must be able to write below its cgroup ({page})", path.display(), code = self.code(), page = self.code().page())]
    Cgroup {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The network of the machine cannot be set up.
    #[error("{code}: cannot set up the network of the machine: {what}: {reason} ({page})", code = self.code(), page = self.code().page())]
    Network {
        /// Which step.
        what: String,
        /// What the system or the program said.
        reason: String,
    },
    /// The address of the API server cannot be listened on.
    #[error("{code}: cannot listen on {address} for connections to the API server: {source}; stop what uses it ({page})", code = self.code(), page = self.code().page())]
    Endpoint {
        /// Address and port.
        address: std::net::SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A program cannot be started.
    #[error("{code}: cannot start {program}: {source} ({page})", code = self.code(), page = self.code().page())]
    Start {
        /// Its name.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program of an earlier agent does not end.
    #[error("{code}: {program} (process {pid}) of an earlier agent does not end; end it and start the agent again ({page})", code = self.code(), page = self.code().page())]
    Leftover {
        /// Its name.
        program: String,
        /// Its process number.
        pid: i32,
    },
    /// The cluster does not know the token of a machine that somebody brought.
    #[error("{code}: cluster {cluster} does not know this token: it is too old, was used, or its machine was deleted; `skep node join {node}` prints a new line ({page})", code = self.code(), page = self.code().page())]
    Unknown {
        /// Name of the node.
        node: String,
        /// Name of the cluster at the gateway.
        cluster: String,
    },
    /// The cluster cannot be asked.
    #[error("{code}: the gateway {server} cannot be reached as {cluster}, or is another cluster's: {reason} ({page})", code = self.code(), page = self.code().page())]
    Unreachable {
        /// Address of the gateway.
        server: String,
        /// Name of the cluster at the gateway.
        cluster: String,
        /// What went wrong.
        reason: String,
    },
    /// The node was deleted from its cluster.
    #[error("{code}: node {node} was deleted from cluster {cluster}: this machine is no node any more, and what had been made of it was taken back; `skep node join {node}` prints a line to bring it again ({page})", code = self.code(), page = self.code().page())]
    Removed {
        /// Name of the node.
        node: String,
        /// Name of the cluster at the gateway.
        cluster: String,
    },
    /// The machine has no place in the cluster any more, and something is left.
    #[error("{code}: node {node} is not of cluster {cluster} any more, and not everything that had been made of this machine could be taken back: {left}; restart the machine ({page})", code = self.code(), page = self.code().page())]
    NotUndone {
        /// Name of the node.
        node: String,
        /// Name of the cluster at the gateway.
        cluster: String,
        /// What is left and why.
        left: String,
    },
    /// The node's credentials cannot be used, or Nodes cannot be watched.
    #[error("{code}: routes to other nodes: {reason}; the agent tries again ({page})", code = self.code(), page = self.code().page())]
    Routes {
        /// What went wrong.
        reason: String,
    },
}

impl Error {
    /// The code; its page is `docs/errors/<code>.md`.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::NotRoot { .. } => 8001,
            Self::Programs { .. } => 8002,
            Self::Kernel { .. } => 8003,
            Self::Engine { .. } => 8004,
            Self::Settings { .. } => 8005,
            Self::File { .. } => 8006,
            Self::Busy { .. } => 8007,
            Self::Mount { .. } => 8008,
            Self::Cgroup { .. } => 8009,
            Self::Network { .. } => 8010,
            Self::Endpoint { .. } => 8011,
            Self::Start { .. } => 8012,
            Self::Leftover { .. } => 8013,
            Self::Routes { .. } => 8014,
            Self::Invitation { .. } => 8113,
            Self::Unknown { .. } | Self::Unreachable { .. } => 8117,
            Self::Removed { .. } | Self::NotUndone { .. } => 8131,
        })
    }

    /// For `map_err` of anything that touches a file.
    pub(crate) fn file(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }
}
