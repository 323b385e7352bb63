//! What people see of a pool that is being deleted: what holds it.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::node_pool::{Drain, OnDrainTimeout};
use skep_api::{Machine, NodePool, NodePoolStatus};

use super::{build, count};

/// Machines whose reasons are told; the others are counted. Each may name some pods.
const TOLD: usize = 3;

/// The status of a pool on its way out. Machines that are there are counted, whether they leave or not.
pub(in super::super) fn deleting(pool: &NodePool, machines: &[Arc<Machine>], now: &Time) -> NodePoolStatus {
    let mut status = pool.status.clone().unwrap_or_default();
    let ready = build::members(machines)
        .iter()
        .filter(|member| member.health == skep_plan::node_pool::Health::Ready && !member.leaving)
        .count();
    status.desired = 0;
    count(&mut status, machines, machines.len(), ready);
    let said = waits(machines);
    for (type_, holds) in
        [(ConditionType::Progressing, ConditionStatus::True), (ConditionType::Ready, ConditionStatus::False)]
    {
        let generation = pool.metadata.generation;
        condition::set(
            &mut status.conditions,
            type_,
            holds,
            condition::DELETING,
            said.clone(),
            generation,
            now,
        );
    }
    status
}

/// What holds it, machine by machine.
fn waits(machines: &[Arc<Machine>]) -> String {
    if machines.is_empty() {
        return "its machines are gone".to_owned();
    }
    let told: Vec<String> = machines.iter().take(TOLD).map(|machine| wait(machine)).collect();
    let noun = if machines.len() == 1 { "machine" } else { "machines" };
    let rest = match machines.len().saturating_sub(TOLD) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    format!("waits for {} {noun}: {}{rest}", machines.len(), told.join("; "))
}

fn wait(machine: &Machine) -> String {
    let name = machine.name_any();
    if machine.metadata.deletion_timestamp.is_none() {
        return format!("{name} was not asked to go yet");
    }
    let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said =
        condition::get(conditions, ConditionType::Ready).filter(|ready| ready.reason == condition::DELETING);
    let Some(said) = said else { return format!("{name} has not begun to leave") };
    match condition::get(conditions, ConditionType::Draining) {
        Some(draining) if draining.status == ConditionStatus::True.as_ref() => {
            let since = draining.last_transition_time.0.strftime("%Y-%m-%dT%H:%M:%SZ");
            format!("{name} is draining since {since} ({}): {}", limit(&machine.spec.drain), said.message)
        }
        _ => format!("{name}: {}", said.message),
    }
}

/// How long its pods may take, and what follows then.
fn limit(drain: &Drain) -> String {
    let then = match drain.on_timeout {
        OnDrainTimeout::Force => "then it goes with those that are left",
        OnDrainTimeout::Wait => "then somebody has to delete those that are left",
    };
    format!("drain.timeoutSeconds {}, {then}", drain.timeout_seconds)
}
