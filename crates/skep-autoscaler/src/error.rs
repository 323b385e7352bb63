//! Why a server cannot run or a call is refused: what happened, to which pool, what to do.

use std::path::PathBuf;

use skep_api::Code;

/// A refusal or failure. [`Error::code`] names the page that explains it.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Certificate, key or authority cannot be used. Never holds key material.
    #[error("the {what} of the autoscaler's server cannot be used: {reason} (SKEP-8090)")]
    Tls {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The port cannot be had.
    #[error(
        "cannot listen on {address}: {source}; free the port or choose another with --listen (SKEP-8091)"
    )]
    Listen {
        /// The address asked for.
        address: std::net::SocketAddr,
        /// The system's reason.
        #[source]
        source: std::io::Error,
    },
    /// No pool of this name can be scaled here.
    #[error(
        "there is no node group {group:?}: cluster {cluster} has no node pool of this name with spec.scaling (SKEP-8092)"
    )]
    NoGroup {
        /// What was asked for.
        group: String,
        /// The cluster, with its namespace.
        cluster: String,
    },
    /// The new size is outside the pool's bounds.
    #[error(
        "node pool {pool} would have {wanted} nodes, but spec.scaling allows {min} to {max}: nothing was changed \
         (SKEP-8093)"
    )]
    OutOfBounds {
        /// The pool.
        pool: String,
        /// What was asked for.
        wanted: i64,
        /// `spec.scaling.min`.
        min: i32,
        /// `spec.scaling.max`.
        max: i32,
    },
    /// A node is not of the group it should be deleted from.
    #[error("node {node:?} does not belong to node pool {pool}: nothing was deleted (SKEP-8094)")]
    ForeignNode {
        /// The node, as the client names it.
        node: String,
        /// The pool.
        pool: String,
    },
    /// The request makes no sense.
    #[error("the request is not usable: {0} (SKEP-8095)")]
    Request(String),
    /// The hub refused or could not be reached.
    #[error("{0}; it may be tried again (SKEP-8096)")]
    Hub(#[from] skep_kubeops::Error),
    /// Somebody else resizes the pool at the same time.
    #[error(
        "the size of node pool {pool} is changed by somebody else at the same time: look at it again (SKEP-8097)"
    )]
    Contended {
        /// The pool.
        pool: String,
    },
    /// The stock file cannot be used.
    #[error("the stock file {} cannot be used: {reason} (SKEP-8098)", path.display())]
    Stock {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Only nodes that have joined could go.
    #[error(
        "node pool {pool} has {joined} nodes, so its size cannot be lowered to {wanted} without deleting one: name the \
         nodes to delete (SKEP-8099)"
    )]
    WouldDelete {
        /// The pool.
        pool: String,
        /// Nodes it has.
        joined: usize,
        /// What was asked for.
        wanted: i64,
    },
    /// The machine class of a pool is not there or not understood.
    #[error("what a node of pool {pool} is like is not known: machine class {class:?} {reason} (SKEP-8100)")]
    NoTemplate {
        /// The pool.
        pool: String,
        /// Its machine class.
        class: String,
        /// What is the matter with it.
        reason: String,
    },
    /// Too many machines are on their way out.
    #[error(
        "node pool {pool} has {most} machines that are still going: wait until some are gone (SKEP-8101)"
    )]
    TooManyLeaving {
        /// The pool.
        pool: String,
        /// How many it may have.
        most: usize,
    },
    /// The certificate of a client is not that of a cluster with this component.
    #[error(
        "{client:?} has no node pools here: only a cluster with spec.components.autoscaler: Managed is served, with the \
         certificate that it was given (SKEP-8102)"
    )]
    Stranger {
        /// The name in its certificate.
        client: String,
    },
    /// A client has too many connections.
    #[error("cluster-autoscaler of tenant {tenant} has {most} connections open already (SKEP-8103)")]
    TooManyConnections {
        /// The tenant.
        tenant: String,
        /// How many it may have.
        most: usize,
    },
}

impl Error {
    /// The code; its page is `docs/errors/<code>.md`.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::Tls { .. } => 8090,
            Self::Listen { .. } => 8091,
            Self::NoGroup { .. } => 8092,
            Self::OutOfBounds { .. } => 8093,
            Self::ForeignNode { .. } => 8094,
            Self::Request(_) => 8095,
            Self::Hub(_) => 8096,
            Self::Contended { .. } => 8097,
            Self::Stock { .. } => 8098,
            Self::WouldDelete { .. } => 8099,
            Self::NoTemplate { .. } => 8100,
            Self::TooManyLeaving { .. } => 8101,
            Self::Stranger { .. } => 8102,
            Self::TooManyConnections { .. } => 8103,
        })
    }

    fn status(&self) -> tonic::Code {
        match self {
            Self::NoGroup { .. } => tonic::Code::NotFound,
            Self::ForeignNode { .. } | Self::Request(_) => tonic::Code::InvalidArgument,
            Self::OutOfBounds { .. } | Self::WouldDelete { .. } | Self::NoTemplate { .. } => {
                tonic::Code::FailedPrecondition
            }
            Self::Contended { .. } => tonic::Code::Aborted,
            Self::TooManyLeaving { .. } | Self::TooManyConnections { .. } => tonic::Code::ResourceExhausted,
            Self::Stranger { .. } => tonic::Code::PermissionDenied,
            Self::Hub(_) => tonic::Code::Unavailable,
            Self::Tls { .. } | Self::Listen { .. } | Self::Stock { .. } => tonic::Code::Internal,
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> Self {
        Self::new(error.status(), error.to_string())
    }
}
