//! Why a pool or a machine cannot be what its spec asks for.

use skep_api::Code;

use crate::refused::{Reason, list};

/// One reason why a spec is refused: a condition reason, an error code, and a sentence that says what would be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Cluster` of this name in the namespace.
    #[error("there is no cluster {asked:?} in this namespace; known are {}", list(known))]
    NoSuchCluster {
        /// What was asked for.
        asked: String,
        /// Clusters of the namespace.
        known: Vec<String>,
    },
    /// No such `MachineClass`.
    #[error("there is no machine class {asked:?}; known are {}", list(known))]
    UnknownClass {
        /// What was asked for.
        asked: String,
        /// Names of the classes.
        known: Vec<String>,
    },
    /// The class cannot be had in a zone.
    #[error(
        "machine class {class:?} cannot be had in zone {}; its zones are {}{}",
        list(asked),
        list(known),
        elsewhere(others)
    )]
    UnknownZone {
        /// Zones that were asked for and that the class does not have.
        asked: Vec<String>,
        /// The class.
        class: String,
        /// Zones of the class.
        known: Vec<String>,
        /// Classes that can be had in all zones that were asked for.
        others: Vec<String>,
    },
    /// No `Release` has this version.
    #[error("there is no release of Kubernetes {asked} for nodes; known are {}", list(known))]
    UnknownVersion {
        /// What was asked for.
        asked: String,
        /// Versions there are.
        known: Vec<String>,
    },
    /// Nodes would be ahead of their control plane.
    #[error(
        "nodes of {asked} would be ahead of their control plane, which serves {serving}: upgrade the cluster first, or \
         leave template.version out to follow it"
    )]
    NodeAhead {
        /// What was asked for.
        asked: String,
        /// The oldest version that serves.
        serving: String,
    },
    /// Nodes would be too far behind their control plane.
    #[error(
        "nodes of {asked} are too old for their control plane of {control_plane}: it takes nodes from {oldest} on; set a \
         newer template.version, or leave it out to follow the control plane"
    )]
    NodeBehind {
        /// What was asked for.
        asked: String,
        /// The newest version of the control plane.
        control_plane: String,
        /// The oldest minor it takes, like `1.33`.
        oldest: String,
    },
    /// A label, taint or setting of the template that no node can have.
    #[error("template.{field}: {reason}")]
    InvalidTemplate {
        /// Field below `template`.
        field: String,
        /// What is wrong and what is allowed.
        reason: String,
    },
    /// Neither a number nor a percentage.
    #[error("{field} is {value}: write a number from 0 to 5000, or a percentage like \"25%\" up to \"100%\"")]
    InvalidShare {
        /// Field below `spec`.
        field: &'static str,
        /// What stands there.
        value: String,
    },
}

impl Refusal {
    /// Condition reason and event reason.
    pub fn reason(&self) -> &'static str {
        self.row().0
    }

    fn row(&self) -> (&'static str, u16) {
        match self {
            Self::NoSuchCluster { .. } => ("NoSuchCluster", 8050),
            Self::UnknownClass { .. } => ("UnknownClass", 8051),
            Self::UnknownZone { .. } => ("UnknownZone", 8052),
            Self::UnknownVersion { .. } => ("UnknownVersion", 8053),
            Self::NodeAhead { .. } => ("NodeAhead", 8054),
            Self::NodeBehind { .. } => ("NodeBehind", 8054),
            Self::InvalidTemplate { .. } => ("InvalidTemplate", 8055),
            Self::InvalidShare { .. } => ("InvalidShare", 8056),
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

fn elsewhere(others: &[String]) -> String {
    if others.is_empty() {
        String::new()
    } else {
        format!("; classes that can be had there are {}", list(others))
    }
}
