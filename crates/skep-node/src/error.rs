//! Why a pass over a pool or a machine failed: which object, what happened, what to do. A spec that cannot be fulfilled is no
//! failure: it is a condition.

use std::time::Duration;

use skep_api::Code;
use skep_kubeops::{Classify, ErrorClass, Key};

/// Reason of the conditions of a machine that cannot be made because its infrastructure has no room for it: another zone or
/// class may have. Autoscalers look elsewhere then.
pub const OUT_OF_STOCK: &str = "OutOfStock";

/// A pass could not be completed; it is tried again.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub enum Error {
    /// The hub refused a call or could not be reached.
    #[error(transparent)]
    Hub(#[from] skep_kubeops::Error),
    /// A tenant's API server refused a call or could not be reached.
    #[error("cluster {cluster}: {source}")]
    Tenant {
        /// The cluster.
        cluster: Key,
        /// What happened.
        #[source]
        source: skep_kubeops::Error,
    },
    /// The infrastructure cannot make or remove the machine.
    #[error("{source}{} ({})", help(source), source.code())]
    Infrastructure {
        /// What happened.
        #[source]
        source: skep_infra::Error,
    },
    /// A cluster says that it is ready, and its kubeconfig is not there (any more).
    #[error("Secret {secret} is not there yet")]
    NoKubeconfig {
        /// Where it should be.
        secret: Key,
    },
    /// The kubeconfig of a cluster cannot be used.
    #[error(
        "the kubeconfig in Secret {secret} cannot be used: {reason}; delete the Secret, and it is made again (SKEP-8060)"
    )]
    Kubeconfig {
        /// Where it is.
        secret: Key,
        /// What is wrong with it.
        reason: String,
    },
    /// Somebody else's Secret has the name of a machine's token.
    #[error(
        "Secret {secret} in cluster {cluster} was not made by Skep for this machine, so it is not written over: delete it \
         (SKEP-8061)"
    )]
    ForeignToken {
        /// The cluster.
        cluster: Key,
        /// The Secret.
        secret: Key,
    },
    /// A token is made and deleted at once by different hands.
    #[error("Secret {secret} in cluster {cluster} changes while it is read")]
    TokenRace {
        /// The cluster.
        cluster: Key,
        /// The Secret.
        secret: Key,
    },
    /// The cluster has more nodes or certificate requests than one operator looks after.
    #[error(
        "cluster {cluster} has more than {most} nodes or certificate requests, so its machines are left alone: delete \
         what nobody needs (SKEP-8063)"
    )]
    TenantTooLarge {
        /// The cluster.
        cluster: Key,
        /// The limit.
        most: usize,
    },
    /// The cluster's nodes could not be listed in time.
    #[error("the API server of cluster {cluster} has not listed its nodes within {seconds} s")]
    TenantSilent {
        /// The cluster.
        cluster: Key,
        /// How long was waited.
        seconds: u64,
    },
    /// The cluster does not serve, or not yet.
    #[error("cluster {cluster} does not serve")]
    TenantAway {
        /// The cluster.
        cluster: Key,
    },
    /// The infrastructure of a machine that must go is not at hand.
    #[error("machine {machine} cannot be removed: {why} (SKEP-8057)")]
    NoInfrastructure {
        /// The machine.
        machine: Key,
        /// Why it is not at hand.
        why: String,
    },
    /// The address ranges of a cluster cannot be used; its own controller refuses such a one first.
    #[error("the network of cluster {cluster} cannot be used: {reason}")]
    Network {
        /// The cluster.
        cluster: Key,
        /// Why.
        reason: String,
    },
    /// What a pass decides on has not been seen yet.
    #[error("{0} is not known yet")]
    NotSeen(String),
}

fn help(source: &skep_infra::Error) -> String {
    let help = source.help();
    if help.is_empty() { help } else { format!("; {help}") }
}

impl Error {
    /// A call to a tenant that failed.
    pub(crate) fn tenant(cluster: &Key) -> impl Fn(skep_kubeops::Error) -> Self + '_ {
        move |source| Self::Tenant { cluster: cluster.clone(), source }
    }

    /// The page under `docs/errors/`, if the error has one.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Infrastructure { source } => Some(source.code()),
            Self::NoInfrastructure { .. } => Some(Code::new(8057)),
            Self::Kubeconfig { .. } => Some(Code::new(8060)),
            Self::ForeignToken { .. } => Some(Code::new(8061)),
            Self::TenantTooLarge { .. } => Some(Code::new(8063)),
            _ => None,
        }
    }

    /// Whether the tenant's side failed, not ours.
    pub(crate) fn is_of_tenant(&self) -> bool {
        matches!(
            self,
            Self::Tenant { .. }
                | Self::NoKubeconfig { .. }
                | Self::Kubeconfig { .. }
                | Self::ForeignToken { .. }
                | Self::TokenRace { .. }
                | Self::TenantTooLarge { .. }
                | Self::TenantSilent { .. }
                | Self::TenantAway { .. }
        )
    }
}

impl From<skep_infra::Error> for Error {
    fn from(source: skep_infra::Error) -> Self {
        Self::Infrastructure { source }
    }
}

impl Classify for Error {
    fn class(&self) -> ErrorClass {
        match self {
            Self::Hub(error) => error.class(),
            // What a tenant refuses for good today it may take tomorrow, without a change of our object.
            Self::Tenant { source, .. } => match source.class() {
                ErrorClass::Permanent => ErrorClass::Transient,
                class => class,
            },
            Self::Infrastructure { source: skep_infra::Error::BadOrder { .. } } => ErrorClass::Permanent,
            Self::Infrastructure { source: skep_infra::Error::Busy { .. } } => {
                ErrorClass::Waiting(Duration::from_secs(1))
            }
            Self::NotSeen(_) | Self::NoKubeconfig { .. } => ErrorClass::Waiting(Duration::from_secs(1)),
            // The cluster's own change brings the next pass sooner.
            Self::TenantAway { .. } => ErrorClass::Waiting(Duration::from_secs(5)),
            _ => ErrorClass::Transient,
        }
    }

    fn reason(&self) -> &'static str {
        match self {
            Self::Hub(error) => error.reason(),
            Self::Tenant { source, .. } => source.reason(),
            Self::Infrastructure {
                source: skep_infra::Error::NoFreeAddress { .. } | skep_infra::Error::NoFreeNetwork,
            } => OUT_OF_STOCK,
            Self::Infrastructure { .. } => "InfrastructureFailed",
            other => other.into(),
        }
    }
}
