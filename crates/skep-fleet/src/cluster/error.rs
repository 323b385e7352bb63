//! Why a pass over a `Cluster` failed. A spec that cannot be fulfilled is no failure: it is a condition.

use skep_kubeops::{Classify, ErrorClass};

/// A pass could not be completed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub refused a call or could not be reached.
    #[error(transparent)]
    Hub(#[from] skep_kubeops::Error),
    /// An object under a name that the cluster needs belongs to somebody else.
    #[error(
        "{kind} {object} exists and was not made by Skep for this cluster, so it is not written over: rename or delete \
         it (SKEP-4013)"
    )]
    Foreign {
        /// Its kind.
        kind: String,
        /// Its namespace and name.
        object: String,
    },
}

impl Classify for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Hub(error) => error.class(),
            Self::Foreign { .. } => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Hub(error) => error.reason(),
            Self::Foreign { .. } => "ForeignObject",
        }
    }
}
