//! Conditions of all kinds: closed sets of types, and one way to set them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use strum::{AsRefStr, Display, EnumString};

/// Longest message the API takes for a condition.
const MAX_MESSAGE: usize = 32_768;

/// Reason of `Progressing` when what the spec asks for has failed and nobody goes on with it.
pub const UPDATE_STOPPED: &str = "UpdateStopped";

/// Reason of `Ready` of what is being deleted; the message says what holds it.
pub const DELETING: &str = "Deleting";

/// What a condition is about. `Ready` sums up the others of the same object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, AsRefStr, Display, EnumString)]
pub enum ConditionType {
    /// The object serves its purpose now.
    Ready,
    /// A change is under way; the message says which step and what it waits for.
    Progressing,
    /// The spec was understood and everything it names exists.
    Accepted,
    /// The control plane of a cluster answers.
    ControlPlaneReady,
    /// The datastore answers and the tenant's access is in place.
    DatastoreReady,
    /// Certificates and keys are there and in their time.
    CertificatesReady,
    /// The infrastructure has made the machine and it runs.
    MachineReady,
    /// The node has joined and Kubernetes calls it ready.
    NodeReady,
    /// Pods are asked to leave the node.
    Draining,
    /// Repair may act on nodes of the pool; if not, too many of them are unhealthy at once.
    RepairAllowed,
    /// The CNI that Skep gives to the nodes of the pool enforces NetworkPolicies.
    NetworkPolicyEnforced,
    /// cluster-autoscaler runs for the cluster and has pools to scale.
    AutoscalerReady,
    /// Reconciliation is stopped by the object's own spec.
    Paused,
}

/// Tri-state value of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, AsRefStr, Display, EnumString)]
pub enum ConditionStatus {
    /// It holds.
    True,
    /// It does not hold; the message says what to do.
    False,
    /// Nobody has looked yet, or looking failed.
    Unknown,
}

impl From<bool> for ConditionStatus {
    fn from(holds: bool) -> Self {
        if holds { Self::True } else { Self::False }
    }
}

/// Sets one condition. `last_transition_time` moves only when the status flips, so that writing the same again
/// changes nothing.
///
/// `reason` is CamelCase from a closed set of the caller; `message` names the object and the next action.
pub fn set(
    conditions: &mut Vec<Condition>,
    type_: ConditionType,
    status: ConditionStatus,
    reason: &str,
    message: impl Into<String>,
    generation: Option<i64>,
    now: &Time,
) {
    let mut message = message.into();
    if message.len() > MAX_MESSAGE {
        let end = (0..=MAX_MESSAGE).rev().find(|end| message.is_char_boundary(*end)).unwrap_or(0);
        message.truncate(end);
    }
    let old = conditions.iter().position(|c| c.type_ == type_.as_ref());
    let since = old
        .map(|at| &conditions[at])
        .filter(|c| c.status == status.as_ref())
        .map_or_else(|| now.clone(), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: type_.to_string(),
        status: status.to_string(),
        reason: reason.to_owned(),
        message,
        observed_generation: generation,
        last_transition_time: since,
    };
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

/// The condition of this type, if it was ever set.
pub fn get(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == type_.as_ref())
}

/// Whether the condition is there and `True`.
pub fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    get(conditions, type_).is_some_and(|c| c.status == ConditionStatus::True.as_ref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::jiff::Timestamp;

    fn at(second: i64) -> Time {
        Time(Timestamp::from_second(second).unwrap())
    }

    #[test]
    fn transition_time_moves_only_when_the_status_flips() {
        let mut all = Vec::new();
        set(&mut all, ConditionType::Ready, ConditionStatus::False, "Starting", "a", Some(1), &at(1));
        set(&mut all, ConditionType::Ready, ConditionStatus::False, "Starting", "b", Some(2), &at(2));
        assert_eq!((all[0].last_transition_time.clone(), all[0].message.as_str()), (at(1), "b"));
        set(&mut all, ConditionType::Ready, ConditionStatus::True, "Serving", "c", Some(2), &at(3));
        assert_eq!((all.len(), all[0].last_transition_time.clone()), (1, at(3)));
        assert!(is_true(&all, ConditionType::Ready) && !is_true(&all, ConditionType::Paused));
    }

    #[test]
    fn a_long_message_is_cut_at_a_character() {
        let mut all = Vec::new();
        let text = "ä".repeat(MAX_MESSAGE);
        set(&mut all, ConditionType::Ready, ConditionStatus::Unknown, "X", text, None, &at(1));
        assert_eq!(all[0].message.len(), MAX_MESSAGE);
    }
}
