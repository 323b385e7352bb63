//! Pods, as far as they say which others they keep away from.

use super::Labels;

/// What counts of a pod here. Replicas of one workload are equal.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its labels.
    pub labels: Labels,
    /// Required anti-affinity.
    pub apart: Vec<Term>,
    /// Topology spread constraints that must be kept (`DoNotSchedule`).
    pub spread: Vec<Spread>,
}

/// No pod that is selected may be in the same domain.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Term {
    /// Label of nodes whose value is the domain.
    pub key: String,
    /// Which pods; none when not set, as upstream has it.
    pub selector: Option<Selector>,
    /// Of which namespaces.
    pub namespaces: Namespaces,
}

/// Namespaces of a term.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Namespaces {
    /// The pod's own.
    Own,
    /// Every one.
    All,
    /// These.
    These(Vec<String>),
}

/// Pods are spread over the values of a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Spread {
    /// The label; a node without it takes no such pod.
    pub key: String,
}

/// A label selector: all of it must hold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Selector(pub Vec<Requirement>);

/// One condition on a label.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Requirement {
    /// The label.
    pub key: String,
    /// How it is compared.
    pub operator: Operator,
    /// With what.
    pub values: Vec<String>,
}

/// How a label is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    /// Its value is one of these.
    In,
    /// It is not there, or its value is none of these.
    NotIn,
    /// It is there.
    Exists,
    /// It is not there.
    DoesNotExist,
}

impl Selector {
    fn selects(&self, labels: &Labels) -> bool {
        self.0.iter().all(|requirement| {
            let value = labels.get(&requirement.key);
            let listed = value.is_some_and(|value| requirement.values.contains(value));
            match requirement.operator {
                Operator::In => listed,
                Operator::NotIn => !listed,
                Operator::Exists => value.is_some(),
                Operator::DoesNotExist => value.is_none(),
            }
        })
    }
}

impl Pod {
    /// Whether this one keeps the other out of its domain of `key`.
    pub(super) fn repels(&self, other: &Self, key: &str) -> bool {
        self.apart.iter().filter(|term| term.key == key).any(|term| {
            let near = match &term.namespaces {
                Namespaces::Own => other.namespace == self.namespace,
                Namespaces::All => true,
                Namespaces::These(names) => names.contains(&other.namespace),
            };
            near && term.selector.as_ref().is_some_and(|selector| selector.selects(&other.labels))
        })
    }
}
