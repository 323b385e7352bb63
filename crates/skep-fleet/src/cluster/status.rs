//! Pure: what people see of a cluster.
//!
//! `status.observedGeneration` and that of `Ready` follow the spec only when it is fulfilled: `kubectl wait
//! --for=condition=Ready` after a change therefore waits for the change, while `Ready` itself stays `True` as long as
//! the cluster serves.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use skep_api::cluster::Phase;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::resources::Reconciliation;
use skep_api::{Cluster, ClusterStatus, ControlPlane};
use skep_kubeops::Classify as _;
use skep_kubeops::events::Severity;
use skep_plan::Refused;

use super::Error;
use super::dereference::tenant;

/// What a pass came to.
pub enum Outcome {
    /// The control plane is as the spec says, or on its way there.
    Applied(Arc<ControlPlane>),
    /// The spec cannot be fulfilled; what ran before goes on.
    Refused(Refused, Option<Arc<ControlPlane>>),
    /// Left alone.
    Paused(Option<Arc<ControlPlane>>),
    /// Something could not be written; it is tried again.
    Failed(Error, Option<Arc<ControlPlane>>),
}

impl Outcome {
    /// The control plane there is.
    pub fn control_plane(&self) -> Option<&ControlPlane> {
        match self {
            Self::Applied(object) => Some(object),
            Self::Refused(_, object) | Self::Paused(object) | Self::Failed(_, object) => object.as_deref(),
        }
    }
}

/// Name of the Secret with the kubeconfig once that is handed over, or why it could not be.
pub type Kubeconfig = Result<Option<String>, Error>;

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

    fn changes(&self) -> bool {
        condition::is_true(self.conditions, ConditionType::Progressing)
    }

    fn message(&self, type_: ConditionType, otherwise: &str) -> (String, String) {
        condition::get(self.conditions, type_)
            .map(|c| (c.reason.clone(), c.message.clone()))
            .unwrap_or_else(|| ("NotYetReported".to_owned(), otherwise.to_owned()))
    }
}

/// The status as it was, without what others say in it: who writes a condition again takes part in it, and brings back what
/// its owner has changed meanwhile.
pub fn own(cluster: &Cluster) -> ClusterStatus {
    let mut status = cluster.status.clone().unwrap_or_default();
    status.conditions.retain(|condition| condition.type_ != ConditionType::AutoscalerReady.as_ref());
    status
}

/// The status after a pass.
pub fn of(cluster: &Cluster, outcome: &Outcome, kubeconfig: &Kubeconfig, now: &Time) -> ClusterStatus {
    let mut status = own(cluster);
    let generation = cluster.metadata.generation;
    let control_plane = outcome.control_plane();
    let cell = Cell::of(control_plane);
    let failure = match outcome {
        Outcome::Failed(error, _) => Some(error),
        _ => kubeconfig.as_ref().err(),
    };
    let settled = matches!(outcome, Outcome::Applied(_)) && failure.is_none() && cell.settled;
    let phase = phase(outcome, settled, cell.serves(), status.version.is_some());

    status.tenant = Some(tenant(cluster).to_string());
    if let Some(control_plane) = control_plane {
        status.endpoint = Some(control_plane.spec.endpoint.clone());
        status.size_class = Some(control_plane.spec.size_class.clone());
        let serving = control_plane.status.as_ref().and_then(|status| status.version.clone());
        status.version = serving.or(status.version);
    }
    if let Ok(Some(secret)) = kubeconfig {
        status.kubeconfig_secret = Some(secret.clone());
    }
    status.phase = Some(phase);
    if settled {
        status.observed_generation = generation;
    }
    let fulfilled = status.observed_generation;
    let conditions = &mut status.conditions;
    let mut set = |type_, holds: ConditionStatus, reason: &str, message: String, generation| {
        condition::set(conditions, type_, holds, reason, message, generation, now);
    };

    let paused = cluster.spec.reconciliation == Reconciliation::Paused;
    match outcome {
        Outcome::Refused(refused, _) => set(
            ConditionType::Accepted,
            ConditionStatus::False,
            refused.first().reason(),
            refused.to_string(),
            generation,
        ),
        // Nobody has looked at what a paused one asks for.
        _ if paused => {}
        _ => set(
            ConditionType::Accepted,
            ConditionStatus::True,
            "Resolved",
            "everything the spec names exists".to_owned(),
            generation,
        ),
    }
    let (reason, message) = match paused {
        true => ("AskedFor", "spec.reconciliation is Paused: set it to Active to go on"),
        false => ("NotAskedFor", "spec.reconciliation is Active"),
    };
    set(ConditionType::Paused, paused.into(), reason, message.to_owned(), generation);
    let (reason, message) = cell.message(ConditionType::Ready, "the cell has not reported yet");
    set(ConditionType::ControlPlaneReady, cell.serves().into(), &reason, message.clone(), fulfilled);
    let step = step(phase, &cell, failure);
    let progressing = step.is_some().into();
    let (step_reason, step) =
        step.unwrap_or_else(|| ("Settled".to_owned(), "nothing is under way".to_owned()));
    set(ConditionType::Progressing, progressing, &step_reason, step, generation);
    let (reason, message) = match failure {
        Some(error) if condition::get(cell.conditions, ConditionType::Ready).is_none() => words(error),
        _ => ready_words(phase, outcome, reason, message),
    };
    set(ConditionType::Ready, cell.serves().into(), &reason, message, fulfilled);
    status
}

fn phase(outcome: &Outcome, settled: bool, serves: bool, served_before: bool) -> Phase {
    match outcome {
        Outcome::Paused(_) => Phase::Paused,
        Outcome::Refused(..) => Phase::Refused,
        _ if settled => Phase::Ready,
        _ if serves => Phase::Updating,
        _ if served_before => Phase::Degraded,
        _ => Phase::Provisioning,
    }
}

/// Reason and message of what is under way, if anything is.
fn step(phase: Phase, cell: &Cell<'_>, failure: Option<&Error>) -> Option<(String, String)> {
    let of_cell = || cell.message(ConditionType::Progressing, "the cell has not started yet");
    match (phase, failure) {
        (_, Some(error)) => Some(words(error)),
        (Phase::Paused, _) => None,
        (Phase::Provisioning, _) => Some(of_cell()),
        _ if cell.changes() => Some(of_cell()),
        (Phase::Updating, _) => {
            Some(("NotYetReported".to_owned(), "the cell has not taken the change up yet".to_owned()))
        }
        _ => None,
    }
}

fn words(error: &Error) -> (String, String) {
    (error.reason().to_owned(), error.to_string())
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
    let mut status = own(cluster);
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
