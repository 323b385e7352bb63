//! Why a pass over a `ControlPlane` failed: which object, what happened, what to do.

use skep_api::Code;
use skep_kubeops::{Classify, ErrorClass};

/// A pass could not be completed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// The cell refused a call or could not be reached.
    #[error(transparent)]
    Kubernetes(#[from] skep_kubeops::Error),
    /// The datastore is not there, not ready, or does not answer.
    #[error(transparent)]
    Datastore(#[from] skep_datastore::Error),
    /// A certificate or kubeconfig cannot be made.
    #[error("certificates cannot be made: {0} (SKEP-4020)")]
    Certificates(#[from] skep_pki::Error),
    /// The Secret with the authorities is incomplete.
    #[error(
        "Secret `authorities` lacks {missing}: bring the Secret back from a backup of the cell; Skep does not make \
         new authorities for a running cluster, because nobody could log in and no stored Secret could be read (SKEP-4021)"
    )]
    AuthoritiesDamaged {
        /// The first key that is missing or unreadable.
        missing: String,
    },
    /// The Secret with the authorities is gone although the control plane exists.
    #[error(
        "Secret `authorities` is gone although Secret `{witness}` is there: bring it back from a backup of the cell, or \
         delete the cluster (SKEP-4021)"
    )]
    AuthoritiesLost {
        /// A Secret that was made from it.
        witness: String,
    },
    /// No generation of an authority is valid now.
    #[error(
        "every certificate authority of the cluster has expired, or the clock of this machine is wrong (SKEP-4022)"
    )]
    AuthoritiesExpired,
    /// The address ranges cannot be used.
    #[error("the network cannot be used: {0}")]
    Network(String),
    /// The spec names a tenant, version or datastore that cannot be read. The schema refuses such objects.
    #[error("spec.{field} cannot be read: {reason} (SKEP-4023)")]
    Spec {
        /// Field below `spec`.
        field: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// A call to the cell that failed, with the object it was about.
    pub(crate) fn call<K: kube::Resource<DynamicType = ()>>(
        verb: &'static str,
        object: impl ToString,
        source: kube::Error,
    ) -> Self {
        let kind = K::kind(&()).into_owned();
        Self::Kubernetes(skep_kubeops::Error::Api { verb, kind, object: object.to_string(), source })
    }

    /// The page under `docs/errors/`, if the error has one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Kubernetes(_) => None,
            Self::Datastore(error) => Some(error.code()),
            Self::Certificates(_) => Some(Code::new(4020)),
            Self::AuthoritiesDamaged { .. } | Self::AuthoritiesLost { .. } => Some(Code::new(4021)),
            Self::AuthoritiesExpired => Some(Code::new(4022)),
            Self::Network(_) => Some(Code::new(4010)),
            Self::Spec { .. } => Some(Code::new(4023)),
        }
    }
}

impl Classify for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Kubernetes(error) => error.class(),
            Self::Datastore(error) => error.class(),
            // Clocks are set and Secrets are brought back without a change of the object.
            Self::AuthoritiesExpired | Self::AuthoritiesDamaged { .. } | Self::AuthoritiesLost { .. } => {
                ErrorClass::Transient
            }
            Self::Certificates(_) | Self::Network(_) | Self::Spec { .. } => ErrorClass::Permanent,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Kubernetes(error) => error.reason(),
            Self::Datastore(error) => error.reason(),
            other => other.into(),
        }
    }
}
