//! Why a backend refuses a call. What goes wrong *inside* a pod is never here: that is in the pod's status.

use skep_api::Code;

/// A refused call.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackendError {
    /// The uid is not one.
    #[error("{0:?} is not the uid of a pod")]
    Uid(String),
    /// This node does not run the pod.
    #[error("pod {0} does not run on this node")]
    UnknownPod(String),
    /// The pod has no such container.
    #[error("container {container:?} is not in pod {pod}; it has: {known}")]
    UnknownContainer {
        /// `namespace/name` of the pod.
        pod: String,
        /// What was asked for.
        container: String,
        /// Names that exist, separated by commas.
        known: String,
    },
    /// The container does not run now.
    #[error("container {container:?} of pod {pod} is not running ({state})")]
    NotRunning {
        /// `namespace/name` of the pod.
        pod: String,
        /// The container.
        container: String,
        /// What it does instead, like `waiting: CrashLoopBackOff`.
        state: String,
    },
    /// There is no log to read.
    #[error("{0}")]
    NoLog(String),
    /// The pod cannot run here whatever one does; the message says why.
    #[error("{code}: {message}")]
    Refused {
        /// Page that explains it.
        code: Code,
        /// What is wrong and what to do.
        message: String,
    },
    /// The pod still runs.
    #[error("pod {0} still has running processes: stop it first")]
    StillRunning(String),
    /// A program given to exec did not start.
    #[error("{0}")]
    Exec(String),
    /// The machine refused something.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done, with the object.
        doing: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
}

impl BackendError {
    /// An I/O error with what was being done.
    pub fn io(doing: impl Into<String>, source: std::io::Error) -> Self {
        Self::Io { doing: doing.into(), source }
    }
}
