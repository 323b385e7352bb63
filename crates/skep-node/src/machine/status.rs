//! Pure: what people see of a machine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::machine::{MachinePhase, NodeVersions};
use skep_api::{Machine, MachineStatus, NodeTemplate};
use skep_infra::State;
use skep_kubeops::Classify as _;

use super::seen::{Accepted, Seen, Sight};
use super::{health, is_made_as};
use crate::Error;
use crate::tenants::Node;

/// Status, reason and message of a condition.
type Said = (ConditionStatus, String, String);

fn said(holds: impl Into<ConditionStatus>, reason: &str, message: impl Into<String>) -> Said {
    (holds.into(), reason.to_owned(), message.into())
}

/// The status after a pass, or after as much of it as was done before `failure`.
pub(super) fn of(machine: &Machine, seen: &Seen, failure: Option<&Error>, now: &Time) -> MachineStatus {
    let mut status = machine.status.clone().unwrap_or_default();
    // Only what was ready once is drained, and comes back from that as what it was.
    let was_ready = match status.phase {
        Some(MachinePhase::Ready | MachinePhase::NotReady) => true,
        Some(MachinePhase::Draining) => status.node.is_some(),
        _ => false,
    };
    let generation = machine.metadata.generation;
    if seen.vacated || seen.begun.is_some() {
        forget(&mut status);
    }
    if let Some(template) = &seen.begun {
        status.template = Some(template.clone());
    }
    let was_ready = was_ready && !seen.vacated && seen.begun.is_none();
    if let Some(ordered) = &seen.machine {
        status.provider_id = Some(ordered.provider_id.clone());
        status.address = ordered.address.map(|address| address.to_string()).or(status.address);
    }
    match &seen.node {
        Sight::There(node) => {
            if seen.joined {
                status.node = Some(machine.name_any());
            }
            status.versions = Some(versions(node));
        }
        Sight::Absent | Sight::Foreign(_) => (status.node, status.versions) = (None, None),
        Sight::Unseen => {}
    }
    let phase = phase(&status, seen, failure, was_ready);
    status.phase = Some(phase);
    health::keep(&mut status, machine.status.as_ref(), seen, now);

    let changed = status.template.as_ref().is_some_and(|made| !is_made_as(&machine.spec.template, made));
    if phase == MachinePhase::Ready && failure.is_none() && !changed && matches!(seen.accepted, Accepted::Yes)
    {
        status.observed_generation = generation;
    }
    let fulfilled = status.observed_generation;
    let old = std::mem::take(&mut status.conditions);
    let ready = ready(phase, seen, failure, &old, status.template.is_some());
    let all = [
        (ConditionType::Accepted, accepted(seen), generation),
        (
            ConditionType::MachineReady,
            machine_ready(seen, failure, &old, status.template.is_some()),
            generation,
        ),
        (ConditionType::NodeReady, node_ready(seen, failure, &old), generation),
        (ConditionType::Draining, draining(seen), generation),
        (ConditionType::Ready, ready, fulfilled),
    ];
    status.conditions = set_all(old, all, now);
    status
}

/// The status before the first request for a machine, or for another one under the same name.
pub(super) fn begun(machine: &Machine, template: &NodeTemplate, now: &Time) -> MachineStatus {
    let seen = Seen { begun: Some(template.clone()), node: Sight::Absent, ..Seen::default() };
    of(machine, &seen, None, now)
}

/// The status of a machine on its way out.
pub(super) fn deleting(machine: &Machine, seen: &Seen, waiting: &str, now: &Time) -> MachineStatus {
    let mut status = machine.status.clone().unwrap_or_default();
    let phase = if seen.draining.is_some() { MachinePhase::Draining } else { MachinePhase::Deleting };
    status.phase = Some(phase);
    if matches!(seen.node, Sight::Absent) {
        (status.node, status.versions) = (None, None);
    }
    let old = std::mem::take(&mut status.conditions);
    let all = [
        (ConditionType::Draining, draining(seen), machine.metadata.generation),
        (
            ConditionType::Ready,
            said(ConditionStatus::False, condition::DELETING, waiting),
            machine.metadata.generation,
        ),
    ];
    status.conditions = set_all(old, all, now);
    status
}

fn set_all<const N: usize>(
    mut conditions: Vec<Condition>,
    all: [(ConditionType, Said, Option<i64>); N],
    now: &Time,
) -> Vec<Condition> {
    for (type_, (holds, reason, message), generation) in all {
        condition::set(&mut conditions, type_, holds, &reason, message, generation, now);
    }
    conditions
}

/// What was known of the machine before is no longer about this one.
fn forget(status: &mut MachineStatus) {
    status.template = None;
    status.provider_id = None;
    status.address = None;
    status.node = None;
    status.versions = None;
}

fn versions(node: &Node) -> NodeVersions {
    // Bounds of the schema, which a node does not know.
    let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let info = &node.status.node_info;
    NodeVersions {
        kubelet: short(&info.kubelet_version, 64),
        container_runtime: short(&info.container_runtime_version, 64),
        kernel: short(&info.kernel_version, 128),
    }
}

fn phase(status: &MachineStatus, seen: &Seen, failure: Option<&Error>, was_ready: bool) -> MachinePhase {
    if seen.draining.is_some() {
        return MachinePhase::Draining;
    }
    if seen.removing && !seen.vacated {
        return MachinePhase::Deleting;
    }
    if status.template.is_none() {
        return match seen.accepted {
            Accepted::Refused(_) | Accepted::NoInfrastructure(_) => MachinePhase::Failed,
            Accepted::Yes | Accepted::Waits(_) => MachinePhase::Pending,
        };
    }
    match &seen.node {
        Sight::There(node) if node.is_ready() => MachinePhase::Ready,
        Sight::There(_) if was_ready => MachinePhase::NotReady,
        Sight::There(_) => MachinePhase::Joining,
        _ if was_ready => match (&seen.node, status.phase) {
            // Nobody could look: what was known last counts.
            (Sight::Unseen, Some(phase)) => phase,
            _ => MachinePhase::NotReady,
        },
        _ if matches!(failure, Some(Error::Infrastructure { .. })) => MachinePhase::Failed,
        _ => match seen.machine.as_ref().map(|machine| &machine.state) {
            Some(State::Running) => MachinePhase::Joining,
            Some(State::Awaited(_)) => MachinePhase::Pending,
            Some(State::Starting(_) | State::Stopped) => MachinePhase::Provisioning,
            None => status.phase.filter(|_| seen.begun.is_none()).unwrap_or(MachinePhase::Provisioning),
        },
    }
}

fn accepted(seen: &Seen) -> Said {
    match &seen.accepted {
        Accepted::Yes => said(true, "Resolved", "everything the spec names exists"),
        Accepted::Refused(refused) => said(false, refused.first().reason(), refused.to_string()),
        Accepted::NoInfrastructure(why) => said(false, "NoInfrastructure", format!("{why} (SKEP-8057)")),
        Accepted::Waits(why) => said(ConditionStatus::Unknown, "Waiting", why.clone()),
    }
}

fn machine_ready(seen: &Seen, failure: Option<&Error>, old: &[Condition], asked: bool) -> Said {
    if let Some(error @ Error::Infrastructure { .. }) = failure {
        return said(false, error.reason(), error.to_string());
    }
    match seen.machine.as_ref().map(|machine| &machine.state) {
        Some(State::Running) => match &seen.unbelieved {
            // It serves pods, but nobody can look into them: without an address it gets no certificate to serve with.
            Some(why) => said(true, "AddressRefused", why.clone()),
            None => said(true, "Running", "the machine runs"),
        },
        Some(State::Starting(what)) => said(false, "Starting", what.clone()),
        Some(State::Awaited(what)) => said(false, "Awaited", what.clone()),
        Some(State::Stopped) => said(false, "Stopped", "the machine is there and does not run"),
        None if asked && seen.begun.is_none() => {
            keep(old, ConditionType::MachineReady, "nobody has looked at the machine yet")
        }
        None => said(ConditionStatus::Unknown, "NotOrdered", waits(seen)),
    }
}

fn node_ready(seen: &Seen, failure: Option<&Error>, old: &[Condition]) -> Said {
    match &seen.node {
        Sight::There(node) => match node.ready() {
            Some(ready) => {
                let holds = match ready.status.as_str() {
                    "True" => ConditionStatus::True,
                    "False" => ConditionStatus::False,
                    _ => ConditionStatus::Unknown,
                };
                let reason = if is_reason(&ready.reason) { ready.reason.as_str() } else { "NotSaid" };
                said(holds, reason, format!("the node says: {}", ready.message))
            }
            None => said(ConditionStatus::Unknown, "NotSaid", "the node has not said yet how it is"),
        },
        Sight::Absent => said(false, "NotJoined", "the node has not registered"),
        Sight::Foreign(on) => said(
            false,
            "ForeignNode",
            format!(
                "the cluster has a node of this name that is not on this machine but on {on:?}: delete that node \
                 (SKEP-8058)"
            ),
        ),
        Sight::Unseen => match failure.filter(|error| error.is_of_tenant()) {
            Some(error) => said(ConditionStatus::Unknown, error.reason(), error.to_string()),
            None => keep(old, ConditionType::NodeReady, "nobody has looked at the node yet"),
        },
    }
}

fn draining(seen: &Seen) -> Said {
    match &seen.draining {
        Some((reason, message)) => said(true, reason, message.clone()),
        None => said(false, "NotDraining", "pods may stay"),
    }
}

/// One line that is enough for `kubectl get -o wide`.
fn ready(phase: MachinePhase, seen: &Seen, failure: Option<&Error>, old: &[Condition], asked: bool) -> Said {
    let holds = phase == MachinePhase::Ready;
    if let Some(error) = failure.filter(|_| !holds) {
        return said(false, error.reason(), error.to_string());
    }
    let of = |(_, reason, message): Said| said(holds, &reason, message);
    match phase {
        MachinePhase::Ready => match &seen.accepted {
            Accepted::Yes | Accepted::Waits(_) => said(true, "NodeReady", "the node is ready"),
            // It serves, but it could not be made again.
            Accepted::Refused(_) | Accepted::NoInfrastructure(_) => of(accepted(seen)),
        },
        MachinePhase::Failed => of(accepted(seen)),
        MachinePhase::Pending if asked => of(machine_ready(seen, failure, old, asked)),
        MachinePhase::Pending => said(false, "Waiting", waits(seen)),
        MachinePhase::Draining => of(draining(seen)),
        MachinePhase::Provisioning => of(machine_ready(seen, failure, old, asked)),
        MachinePhase::Deleting => said(false, "Removing", "the infrastructure removes what it was"),
        MachinePhase::Joining | MachinePhase::NotReady => of(node_ready(seen, failure, old)),
    }
}

fn waits(seen: &Seen) -> String {
    match (&seen.accepted, &seen.waits) {
        (Accepted::Waits(why), _) => why.clone(),
        (_, Some(what)) => format!("waits for {what}"),
        _ => "nothing was asked of the infrastructure yet".to_owned(),
    }
}

/// What was said last, if anything was.
fn keep(old: &[Condition], type_: ConditionType, otherwise: &str) -> Said {
    match condition::get(old, type_) {
        Some(condition) => {
            let holds = condition.status.parse().unwrap_or(ConditionStatus::Unknown);
            said(holds, &condition.reason, condition.message.clone())
        }
        None => said(ConditionStatus::Unknown, "NotYetReported", otherwise),
    }
}

/// What the schema of conditions takes as a reason.
fn is_reason(text: &str) -> bool {
    text.len() <= 128
        && text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ',' | ':'))
}

#[cfg(test)]
mod tests;
