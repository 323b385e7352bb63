//! Pure: what people see of a cluster.
//!
//! `status.observedGeneration` and that of `Ready` follow the spec only when it is fulfilled: `kubectl wait
//! --for=condition=Ready` after a change therefore waits for the change, while `Ready` itself stays `True` as long as
//! the cluster serves.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use skep_api::cluster::Phase;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::{Cluster, ClusterStatus, ControlPlane};
use skep_kubeops::events::Severity;
use skep_plan::Refused;

use super::dereference::tenant;

/// What a pass came to.
pub enum Outcome {
    /// The control plane is as the spec says, or on its way there.
    Applied(Arc<ControlPlane>),
    /// The spec cannot be fulfilled; what ran before goes on.
    Refused(Refused, Option<Arc<ControlPlane>>),
    /// Left alone.
    Paused(Option<Arc<ControlPlane>>),
}

impl Outcome {
    /// The control plane there is.
    pub fn control_plane(&self) -> Option<&ControlPlane> {
        match self {
            Self::Applied(object) => Some(object),
            Self::Refused(_, object) | Self::Paused(object) => object.as_deref(),
        }
    }
}

/// What the cell says about a control plane, in the words of a cluster.
struct Cell<'a> {
    conditions: &'a [Condition],
    /// Everything of the present spec is in force.
    settled: bool,
}

impl<'a> Cell<'a> {
    fn of(control_plane: Option<&'a ControlPlane>) -> Self {
        let status = control_plane.and_then(|object| object.status.as_ref());
        let conditions = status.map(|status| status.conditions.as_slice()).unwrap_or_default();
        let observed = status.and_then(|status| status.observed_generation);
        let current = control_plane.and_then(|object| object.metadata.generation);
        let settled = observed.is_some()
            && observed == current
            && condition::is_true(conditions, ConditionType::Ready)
            && !condition::is_true(conditions, ConditionType::Progressing);
        Self { conditions, settled }
    }

    fn serves(&self) -> bool {
        condition::is_true(self.conditions, ConditionType::Ready)
    }

    fn message(&self, type_: ConditionType, otherwise: &str) -> (String, String) {
        condition::get(self.conditions, type_)
            .map(|c| (c.reason.clone(), c.message.clone()))
            .unwrap_or_else(|| ("NotYetReported".to_owned(), otherwise.to_owned()))
    }
}

/// The status after a pass. `kubeconfig` is the name of the Secret that was handed over.
pub fn of(cluster: &Cluster, outcome: &Outcome, kubeconfig: Option<String>, now: &Time) -> ClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation;
    let control_plane = outcome.control_plane();
    let cell = Cell::of(control_plane);
    let settled = matches!(outcome, Outcome::Applied(_)) && cell.settled;
    let phase = phase(outcome, &cell, status.version.is_some());

    status.tenant = Some(tenant(cluster).to_string());
    if let Some(control_plane) = control_plane {
        status.endpoint = Some(control_plane.spec.endpoint.clone());
        status.size_class = Some(control_plane.spec.size_class.clone());
        let serving = control_plane.status.as_ref().and_then(|status| status.version.clone());
        status.version = serving.or(status.version);
    }
    status.kubeconfig_secret = kubeconfig.or(status.kubeconfig_secret);
    status.phase = Some(phase);
    if settled {
        status.observed_generation = generation;
    }
    let fulfilled = status.observed_generation;
    let conditions = &mut status.conditions;
    let mut set = |type_, holds: ConditionStatus, reason: &str, message: String, generation| {
        condition::set(conditions, type_, holds, reason, message, generation, now);
    };

    match outcome {
        Outcome::Refused(refused, _) => set(
            ConditionType::Accepted,
            ConditionStatus::False,
            refused.first().reason(),
            refused.to_string(),
            generation,
        ),
        _ => set(
            ConditionType::Accepted,
            ConditionStatus::True,
            "Resolved",
            "everything the spec names exists".to_owned(),
            generation,
        ),
    }
    let paused = matches!(outcome, Outcome::Paused(_));
    let (reason, message) = match paused {
        true => ("AskedFor", "spec.reconciliation is Paused: set it to Active to go on"),
        false => ("NotAskedFor", "spec.reconciliation is Active"),
    };
    set(ConditionType::Paused, paused.into(), reason, message.to_owned(), generation);
    let (reason, message) = cell.message(ConditionType::Ready, "the cell has not reported yet");
    set(ConditionType::ControlPlaneReady, cell.serves().into(), &reason, message.clone(), fulfilled);
    let progressing = matches!(phase, Phase::Provisioning | Phase::Updating);
    let (step_reason, step) = match progressing {
        true => cell.message(ConditionType::Progressing, "the cell has not started yet"),
        false => ("Settled".to_owned(), "nothing is under way".to_owned()),
    };
    set(ConditionType::Progressing, progressing.into(), &step_reason, step, generation);
    let (reason, message) = ready_words(phase, outcome, reason, message);
    set(ConditionType::Ready, cell.serves().into(), &reason, message, fulfilled);
    status
}

fn phase(outcome: &Outcome, cell: &Cell<'_>, served_before: bool) -> Phase {
    match outcome {
        Outcome::Paused(_) => Phase::Paused,
        Outcome::Refused(..) => Phase::Refused,
        Outcome::Applied(_) if cell.settled => Phase::Ready,
        Outcome::Applied(_) if cell.serves() => Phase::Updating,
        Outcome::Applied(_) if served_before => Phase::Degraded,
        Outcome::Applied(_) => Phase::Provisioning,
    }
}

/// Reason and message of `Ready`: one line that is enough for `kubectl get -o wide`.
fn ready_words(phase: Phase, outcome: &Outcome, reason: String, message: String) -> (String, String) {
    match (phase, outcome) {
        (Phase::Refused, Outcome::Refused(refused, _)) => ("Refused".to_owned(), refused.to_string()),
        (Phase::Paused, _) => {
            ("Paused".to_owned(), "left alone because spec.reconciliation is Paused".to_owned())
        }
        (Phase::Ready, _) => ("Serving".to_owned(), "the cluster serves and is as its spec says".to_owned()),
        (Phase::Updating, _) => {
            ("Updating".to_owned(), "the cluster serves while a change is made".to_owned())
        }
        _ => (reason, message),
    }
}

/// The status of a cluster on its way out.
pub fn deleting(cluster: &Cluster, waiting: &str, now: &Time) -> ClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    status.phase = Some(Phase::Deleting);
    let mut set = |type_, holds| {
        condition::set(
            &mut status.conditions,
            type_,
            holds,
            "Deleting",
            waiting,
            cluster.metadata.generation,
            now,
        );
    };
    set(ConditionType::Ready, ConditionStatus::False);
    set(ConditionType::Progressing, ConditionStatus::True);
    status
}

/// The event that goes with a new phase.
pub fn event(phase: Phase, status: &ClusterStatus, outcome: &Outcome) -> (Severity, &'static str, String) {
    let version = status.version.as_deref().unwrap_or_default();
    match (phase, outcome) {
        (Phase::Refused, Outcome::Refused(refused, _)) => (Severity::Warning, "Refused", refused.to_string()),
        (Phase::Degraded, _) => {
            let why = condition::get(&status.conditions, ConditionType::Ready).map(|c| c.message.clone());
            (Severity::Warning, "Degraded", why.unwrap_or_default())
        }
        (Phase::Ready, _) => (Severity::Normal, "Ready", format!("the cluster serves Kubernetes {version}")),
        (Phase::Updating, _) => (Severity::Normal, "Updating", "a change is being made".to_owned()),
        (Phase::Paused, _) => (Severity::Normal, "Paused", "left alone as asked".to_owned()),
        _ => (Severity::Normal, "Provisioning", "the control plane is being made".to_owned()),
    }
}

#[cfg(test)]
mod tests;
