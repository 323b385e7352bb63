//! Why a cluster cannot be what its spec asks for.
//!
//! Each refusal is a condition reason, an error code with a page, and a sentence that lists what would be accepted.

use skep_api::Code;

use crate::refused::{Reason, list};

/// One reason why a spec is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Release` has this version.
    #[error("there is no release of Kubernetes {asked}; known are {}", list(known))]
    UnknownVersion {
        /// What was asked for.
        asked: String,
        /// Versions with their states, oldest first.
        known: Vec<String>,
    },
    /// The version exists but no new cluster may have it.
    #[error(
        "the release of Kubernetes {asked} is retired: no new cluster can have it; choose one of {}",
        list(usable)
    )]
    RetiredVersion {
        /// What was asked for.
        asked: String,
        /// Versions that are not retired.
        usable: Vec<String>,
    },
    /// The channel has no release.
    #[error("channel {channel} has no release to offer; known releases are {}", list(known))]
    EmptyChannel {
        /// The channel.
        channel: &'static str,
        /// Versions with their states.
        known: Vec<String>,
    },
    /// No such `SizeClass`.
    #[error("there is no size class {asked:?}{}; known are {}", asked_by(by), list(known))]
    UnknownSizeClass {
        /// What was asked for.
        asked: String,
        /// The profile that asked, when it was not the cluster itself.
        by: Option<String>,
        /// Names of the classes, smallest first.
        known: Vec<String>,
    },
    /// No such `ClusterProfile`.
    #[error("there is no cluster profile {asked:?}; known are {}", list(known))]
    UnknownProfile {
        /// What was asked for.
        asked: String,
        /// Names of the profiles.
        known: Vec<String>,
    },
    /// The new version is of an older minor.
    #[error(
        "Kubernetes cannot go back from {from} to {to}: {from} may already have stored objects that {to} cannot read; \
         stay on {from} or choose a newer version"
    )]
    Downgrade {
        /// Highest version that runs or has served.
        from: String,
        /// What was asked for.
        to: String,
    },
    /// The new version is more than one minor ahead.
    #[error(
        "Kubernetes cannot skip a minor version: from {from} go to {next} first, then to {to}{}",
        known_in(next, known)
    )]
    SkippedMinor {
        /// Version that runs.
        from: String,
        /// What was asked for.
        to: String,
        /// The minor in between, like `1.36`.
        next: String,
        /// Releases of that minor.
        known: Vec<String>,
    },
    /// Another minor upgrade has not finished.
    #[error(
        "the upgrade from {serving} to {wanted} is not finished yet: API servers may differ by one minor only, \
         so {to} has to wait for it"
    )]
    UpgradeUnderWay {
        /// Oldest version that still serves.
        serving: String,
        /// Version the cluster is on its way to.
        wanted: String,
        /// What was asked for.
        to: String,
    },
    /// A flag that only Skep may set, or that names a file.
    #[error("flag --{flag} of {program}{} cannot be set: {why}", asked_by(by))]
    FlagNotAllowed {
        /// The program.
        program: &'static str,
        /// Name without dashes.
        flag: String,
        /// The profile that asked, when it was not the cluster itself.
        by: Option<String>,
        /// Why it is refused.
        why: &'static str,
    },
    /// The address ranges make no sense.
    #[error("network.{field}: {reason}")]
    InvalidNetwork {
        /// Field below `network`.
        field: &'static str,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// The address ranges of a running cluster were changed.
    #[error("the network of a running cluster cannot change; set it back, or make a new cluster")]
    NetworkChanged,
    /// No datastore takes another tenant.
    #[error("no datastore takes another tenant: {}; create a Datastore of class Shared", passed_over(seen))]
    NoDatastore {
        /// Each datastore with the reason it was passed over.
        seen: Vec<String>,
    },
}

impl Refusal {
    /// Condition reason and event reason.
    pub fn reason(&self) -> &'static str {
        self.row().0
    }

    fn row(&self) -> (&'static str, u16) {
        match self {
            Self::UnknownVersion { .. } => ("UnknownVersion", 4001),
            Self::UnknownSizeClass { .. } => ("UnknownSizeClass", 4002),
            Self::UnknownProfile { .. } => ("UnknownProfile", 4003),
            Self::EmptyChannel { .. } => ("EmptyChannel", 4004),
            Self::RetiredVersion { .. } => ("RetiredVersion", 4005),
            Self::Downgrade { .. } => ("Downgrade", 4006),
            Self::SkippedMinor { .. } => ("SkippedMinor", 4007),
            Self::UpgradeUnderWay { .. } => ("UpgradeUnderWay", 4008),
            Self::FlagNotAllowed { .. } => ("FlagNotAllowed", 4009),
            Self::InvalidNetwork { .. } => ("InvalidNetwork", 4010),
            Self::NetworkChanged => ("NetworkChanged", 4011),
            Self::NoDatastore { .. } => ("NoDatastore", 4012),
        }
    }
}

impl Reason for Refusal {
    fn code(&self) -> Code {
        Code::new(self.row().1)
    }
}

/// All reasons why a spec is refused.
pub type Refused = crate::refused::Refused<Refusal>;

/// Both values, or the reasons of both.
pub(crate) fn both<A, B>(a: Result<A, Refused>, b: Result<B, Refused>) -> Result<(A, B), Refused> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (Err(a), Err(b)) => Err(a.and(b)),
        (Err(refused), Ok(_)) | (Ok(_), Err(refused)) => Err(refused),
    }
}

fn passed_over(seen: &[String]) -> String {
    if seen.is_empty() { "there is none".to_owned() } else { list(seen) }
}

fn asked_by(profile: &Option<String>) -> String {
    profile.as_ref().map(|name| format!(" (asked for by cluster profile {name:?})")).unwrap_or_default()
}

fn known_in(minor: &str, known: &[String]) -> String {
    if known.is_empty() {
        format!("; there is no release of {minor} here")
    } else {
        format!(" ({})", list(known))
    }
}
