//! Errors of datastores: which one, what happened, what to do, and the code of the page that says more.

use skep_api::Code;
use skep_kubeops::{Classify, ErrorClass};

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a datastore could not be used or brought to its goal.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// There is no such `Datastore`.
    #[error("{}: there is no Datastore {datastore}; create it, or name another one", self.code())]
    DatastoreNotFound {
        /// `namespace/name`.
        datastore: String,
    },
    /// etcd never answered since the `Datastore` was made, or its certificates are not there yet.
    #[error("{}: datastore {datastore} is not ready yet: {waiting_for}", self.code())]
    DatastoreNotReady {
        /// `namespace/name`.
        datastore: String,
        /// What is missing.
        waiting_for: String,
    },
    /// etcd does not answer.
    #[error("{}: etcd of datastore {datastore} does not answer: {reason}", self.code())]
    DatastoreUnavailable {
        /// `namespace/name`.
        datastore: String,
        /// What the connection said.
        reason: String,
    },
    /// etcd answered with something that a repetition will not change by itself.
    #[error("{}: etcd of datastore {datastore} refused to {action}: {reason}", self.code())]
    DatastoreRefused {
        /// `namespace/name`.
        datastore: String,
        /// What was tried.
        action: &'static str,
        /// etcd's own words.
        reason: String,
    },
    /// The spec of a `Datastore` cannot be used.
    #[error("{}: Datastore {datastore} cannot be built: {reason}", self.code())]
    InvalidDatastore {
        /// `namespace/name`.
        datastore: String,
        /// Which field, and what is allowed.
        reason: String,
    },
    /// A `Datastore` that still holds tenants is not deleted.
    #[error("{}: Datastore {datastore} is not deleted: {reason}", self.code())]
    DatastoreInUse {
        /// `namespace/name`.
        datastore: String,
        /// What it still holds, and what to do.
        reason: String,
    },
    /// A certificate could not be made.
    #[error("{}: certificates of datastore {datastore}: {source}", self.code())]
    CertificateFailed {
        /// `namespace/name`.
        datastore: String,
        /// Which one and why.
        #[source]
        source: skep_pki::Error,
    },
    /// The cell's API server refused something.
    #[error(transparent)]
    Kubernetes(Box<skep_kubeops::Error>),
}

impl From<skep_kubeops::Error> for Error {
    fn from(error: skep_kubeops::Error) -> Self {
        Self::Kubernetes(Box::new(error))
    }
}

impl Error {
    /// The page under `docs/errors/`; none for errors of the API server, which speak for themselves.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::DatastoreUnavailable { .. } => 5001,
            Self::DatastoreNotReady { .. } => 5002,
            Self::DatastoreNotFound { .. } => 5003,
            Self::DatastoreInUse { .. } => 5004,
            Self::InvalidDatastore { .. } => 5005,
            Self::DatastoreRefused { .. } => 5006,
            Self::CertificateFailed { .. } => 5007,
            Self::Kubernetes(_) => 5009,
        })
    }

    /// Will it pass by itself once etcd or the network is back? Callers say "unavailable" in their condition.
    pub fn is_unavailable(&self) -> bool {
        matches!(self, Self::DatastoreUnavailable { .. } | Self::DatastoreNotReady { .. })
    }
}

impl Classify for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::InvalidDatastore { .. } => ErrorClass::Permanent,
            Self::Kubernetes(error) => error.class(),
            _ => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => error.reason(),
            other => other.into(),
        }
    }
}
