//! Why a pass over a `Cluster` failed. A spec that cannot be fulfilled is no failure: it is a condition.

use skep_kubeops::{Classify, ErrorClass};

/// A pass could not be completed; it is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The hub refused a call or could not be reached.
    #[error(transparent)]
    Hub(#[from] skep_kubeops::Error),
    /// A namespace of the tenant's name belongs to somebody else.
    #[error(
        "namespace {0:?} exists and was not made by Skep, so the control plane cannot go there: \
         rename or delete the namespace (SKEP-4013)"
    )]
    ForeignNamespace(String),
}

impl Classify for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Hub(error) => error.class(),
            Self::ForeignNamespace(_) => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Hub(error) => error.reason(),
            Self::ForeignNamespace(_) => "ForeignNamespace",
        }
    }
}
