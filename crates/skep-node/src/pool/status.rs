//! Pure: what people see of a pool.
//!
//! `status.observedGeneration` and that of `Ready` follow the spec only when it is fulfilled: `kubectl wait
//! --for=condition=Ready` after a change therefore waits for the change, while `Ready` itself stays `True` as long as
//! enough nodes are ready.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use skep_agent::config::PodNetwork;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::node_pool::StoppedUpdate;
use skep_api::{Machine, NodePool, NodePoolStatus};
use skep_kubeops::events::Severity;
use skep_kubeops::{Classify as _, Recorder};
use skep_plan::node_pool::{Action, Plan};

use super::repair::Judged;
use super::{Outcome, build};

mod leaving;
mod network;
mod updates;
mod versions;

pub(super) use leaving::deleting;

/// The status after a pass. `network` is that of its nodes' pods, if it is known.
pub(super) fn of(
    pool: &NodePool,
    outcome: &Outcome,
    repair: Option<&Judged>,
    machines: &[Arc<Machine>],
    network: Option<PodNetwork>,
    now: &Time,
) -> NodePoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    let generation = pool.metadata.generation;
    let members = build::members(machines);
    let live = || members.iter().filter(|member| !member.leaving);
    let ready = live().filter(|member| member.health == skep_plan::node_pool::Health::Ready).count();

    status.selector = Some(build::selector(pool));
    count(&mut status, machines, live().count(), ready);
    if let Outcome::Planned(planned) = outcome {
        let (goal, plan) = (planned.course.goal(), &planned.plan);
        updates::keep(&mut status, pool, planned, now);
        let outdated = |name: &str| plan.outdated.iter().any(|outdated| outdated.machine == name);
        status.desired = number(goal.replicas);
        status.version = Some(goal.version.to_string());
        status.updated_replicas =
            number(live().filter(|member| !member.changing && !outdated(&member.name)).count());
    }
    let enough = ready >= usize::try_from(status.desired).unwrap_or(0);
    let settled = matches!(outcome, Outcome::Planned(planned) if updates::is_fulfilled(planned)) && enough;
    if settled {
        status.observed_generation = generation;
    }
    let fulfilled = status.observed_generation;
    let counts = format!("{ready} of {} nodes are ready", status.desired);
    let conditions = &mut status.conditions;
    let mut set = |type_, holds: ConditionStatus, reason: &str, message: String, generation| {
        condition::set(conditions, type_, holds, reason, message, generation, now);
    };

    match outcome {
        Outcome::Refused(refused) => {
            let reason = refused.first().reason();
            set(ConditionType::Accepted, ConditionStatus::False, reason, refused.to_string(), generation);
        }
        Outcome::Waits(why) => {
            set(ConditionType::Accepted, ConditionStatus::Unknown, "Waiting", why.clone(), generation);
        }
        // Nobody has looked at what it asks for.
        Outcome::Paused => {}
        Outcome::Planned(_) | Outcome::Failed(_) => {
            let message = "everything the spec names exists".to_owned();
            set(ConditionType::Accepted, ConditionStatus::True, "Resolved", message, generation);
        }
    }
    let cluster = &pool.spec.cluster;
    let (paused, reason, message) = match outcome {
        Outcome::Paused => (
            true,
            "AskedFor",
            format!("left alone because cluster {cluster} is: its spec.reconciliation is Paused"),
        ),
        _ => (false, "NotAskedFor", format!("spec.reconciliation of cluster {cluster} is Active")),
    };
    set(ConditionType::Paused, paused.into(), reason, message, generation);
    let (progressing, reason, message) = progress(outcome, status.stopped.as_ref(), machines);
    set(ConditionType::Progressing, progressing, reason, message, generation);
    let (holds, reason, message) = ready_words(outcome, enough, counts, machines);
    set(ConditionType::Ready, holds.into(), reason, message, fulfilled);
    if let Some(decision) = repair.and_then(|judged| judged.decision.as_ref()) {
        let message = decision.message.clone();
        set(ConditionType::RepairAllowed, decision.allowed, decision.reason, message, generation);
    }
    if let Some(network) = network {
        let (holds, reason, message) = network::policies(network);
        set(ConditionType::NetworkPolicyEnforced, holds, reason, message, generation);
    }
    if let Some(judged) = repair {
        status.repairs.clone_from(&judged.orders);
    }
    status
}

/// What is counted whatever becomes of the pool.
fn count(status: &mut NodePoolStatus, machines: &[Arc<Machine>], replicas: usize, ready: usize) {
    status.replicas = number(replicas);
    status.ready_replicas = number(ready);
    (status.versions, status.version_summary) = versions::of(machines);
}

fn number(count: usize) -> i32 {
    i32::try_from(count).unwrap_or(i32::MAX)
}

fn progress(
    outcome: &Outcome,
    stopped: Option<&StoppedUpdate>,
    machines: &[Arc<Machine>],
) -> (ConditionStatus, &'static str, String) {
    match outcome {
        Outcome::Planned(planned)
            if let Some((reason, message)) = updates::words(planned, stopped, machines) =>
        {
            (ConditionStatus::False, reason, message)
        }
        Outcome::Failed(error) => (ConditionStatus::True, error.reason(), error.to_string()),
        Outcome::Waits(why) => (ConditionStatus::True, "Waiting", why.clone()),
        Outcome::Paused => (ConditionStatus::False, "Paused", "its cluster is left alone".to_owned()),
        Outcome::Refused(_) => (
            ConditionStatus::False,
            "Refused",
            "what is there stays as it is until the spec is corrected".to_owned(),
        ),
        Outcome::Planned(planned) if !planned.plan.is_settled() => {
            let plan = &planned.plan;
            let reason = if plan.outdated.is_empty() { "Scaling" } else { "Updating" };
            (ConditionStatus::True, reason, steps(plan))
        }
        Outcome::Planned(planned) if !planned.plan.outdated.is_empty() => {
            let plan = &planned.plan;
            let names: Vec<&str> =
                plan.outdated.iter().take(5).map(|outdated| outdated.machine.as_str()).collect();
            let message = format!(
                "{} machines are outdated and stay until somebody deletes them (update.strategy is OnDelete): {}{}",
                plan.outdated.len(),
                names.join(", "),
                if plan.outdated.len() > names.len() { " …" } else { "" }
            );
            (ConditionStatus::False, "OutdatedOnDelete", message)
        }
        Outcome::Planned(_) => (ConditionStatus::False, "Settled", "nothing is under way".to_owned()),
    }
}

/// A plan in one line.
pub(super) fn steps(plan: &Plan) -> String {
    let count = |wanted: fn(&Action) -> bool| plan.actions.iter().filter(|action| wanted(action)).count();
    let counts = [
        (count(|action| matches!(action, Action::Create { .. })), "made"),
        (count(|action| matches!(action, Action::Delete { .. })), "removed"),
        (count(|action| matches!(action, Action::Change { .. })), "changed in place"),
    ];
    let mut words: Vec<String> = counts
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} machines are {what}"))
        .collect();
    if !plan.waits.is_empty() {
        words.push(format!("waiting for {}", plan.waits.join("; ")));
    }
    words.join(", ")
}

/// One line that is enough for `kubectl get -o wide`.
fn ready_words(
    outcome: &Outcome,
    enough: bool,
    counts: String,
    machines: &[Arc<Machine>],
) -> (bool, &'static str, String) {
    match outcome {
        Outcome::Refused(refused) => {
            (enough && !machines.is_empty(), "Refused", format!("{counts}; {refused}"))
        }
        Outcome::Waits(why) => (false, "Waiting", why.clone()),
        Outcome::Paused => (enough, "Paused", format!("{counts}; it is left alone because its cluster is")),
        Outcome::Failed(error) if !enough => (false, error.reason(), format!("{counts}; {error}")),
        _ if enough => (true, "NodesReady", counts),
        _ => (false, "NodesNotReady", format!("{counts}{}", trouble(machines))),
    }
}

/// The first machine that says why it cannot be made.
fn trouble(machines: &[Arc<Machine>]) -> String {
    let failed = machines.iter().find_map(|machine| {
        let status = machine.status.as_ref().filter(|status| status.phase == Some(MachinePhase::Failed))?;
        let ready = condition::get(&status.conditions, ConditionType::Ready)?;
        Some(format!("; machine {}: {}", machine.name_any(), ready.message))
    });
    failed.unwrap_or_default()
}

/// Tells people what changed, on the pool.
pub(super) fn announce(recorder: &Recorder, pool: &NodePool, new: &NodePoolStatus, outcome: &Outcome) {
    let old = pool.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said = |conditions: &[_], type_| {
        condition::get(conditions, type_).map(|c| (c.status.clone(), c.reason.clone()))
    };
    let changed = |type_| said(old, type_) != said(&new.conditions, type_);
    let message =
        |type_| condition::get(&new.conditions, type_).map(|c| c.message.clone()).unwrap_or_default();
    match outcome {
        Outcome::Refused(refused) if changed(ConditionType::Accepted) => {
            recorder.publish(
                pool,
                Severity::Warning,
                refused.first().reason(),
                "Reconcile",
                refused.to_string(),
            );
        }
        // The controller itself tells why a pass failed.
        Outcome::Refused(_) | Outcome::Waits(_) | Outcome::Paused | Outcome::Failed(_) => {}
        Outcome::Planned(_) if changed(ConditionType::Ready) => {
            let ready = condition::is_true(&new.conditions, ConditionType::Ready);
            let reason = if ready { "NodesReady" } else { "NodesNotReady" };
            recorder.publish(pool, Severity::Normal, reason, "Reconcile", message(ConditionType::Ready));
        }
        Outcome::Planned(_) => {}
    }
}
