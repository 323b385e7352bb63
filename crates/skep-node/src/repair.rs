//! Repair between pools and machines: what decisions are made on, orders, evidence and figures.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_api::machine::{MachinePhase, MachineRepair};
use skep_api::{Machine, NodePool, NodePoolSpec, NodeTemplate, RepairOrder};
use skep_plan::node_pool::Share;
use skep_plan::repair::{Past, Patient, Rules, State};

mod evidence;
mod figures;

pub(crate) use evidence::{Evidence, keep};
pub use figures::Figures;
pub(crate) use figures::Outcome;

/// What a pool allows; `None` when its spec cannot be read, which is said elsewhere.
pub(crate) fn rules(spec: &NodePoolSpec) -> Option<Rules> {
    let seconds = |seconds: i32| Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
    Some(Rules {
        policy: spec.repair.policy,
        not_ready: seconds(spec.repair.not_ready_seconds),
        max_unhealthy: Share::read("repair.maxUnhealthy", &spec.repair.max_unhealthy).ok()?,
        per_hour: usize::try_from(spec.repair.max_per_hour).unwrap_or(0),
        signs: spec.repair.failure_signs,
        drain: seconds(spec.drain.timeout_seconds),
    })
}

/// A machine as decisions see it. `trial` is a template that is still being tried: whether machines get ready with it is
/// the update's business.
pub(crate) fn patient(machine: &Machine, trial: Option<&NodeTemplate>) -> Patient {
    let status = machine.status.clone().unwrap_or_default();
    let last = status.repair.as_ref();
    Patient {
        name: machine.name_any(),
        zone: machine.spec.zone.clone(),
        exempt: machine.spec.repair == MachineRepair::Exempt,
        state: state(machine, trial),
        stops: status.stops.iter().map(|stop| stop.0).collect(),
        signs: status.failure_signs.iter().map(|sign| (sign.type_.clone(), sign.since.0)).collect(),
        reboots: last.map_or(0, |record| usize::try_from(record.reboots).unwrap_or(0)),
        last: last.and_then(|record| Some((record.last.as_ref()?.0, record.done.as_ref()?.0))),
    }
}

fn state(machine: &Machine, trial: Option<&NodeTemplate>) -> State {
    if machine.metadata.deletion_timestamp.is_some() {
        return State::Leaving;
    }
    let Some(status) = &machine.status else { return State::Busy };
    let made = status.template.as_ref();
    if made.is_none_or(|made| !crate::machine::is_made_as(&machine.spec.template, made)) {
        return State::Busy;
    }
    match (status.phase, &status.unready_since) {
        (Some(MachinePhase::Ready), _) => State::Ready,
        // Drained for a reboot.
        (Some(MachinePhase::NotReady | MachinePhase::Draining), Some(since)) => State::NotReady(since.0),
        (Some(MachinePhase::Joining), _) if trial == Some(&machine.spec.template) => State::Busy,
        (Some(MachinePhase::Joining), Some(since)) => State::Joining(since.0),
        _ => State::Busy,
    }
}

/// Orders as decisions see them.
pub(crate) fn past(orders: &[RepairOrder]) -> Vec<Past> {
    orders
        .iter()
        .map(|order| Past { machine: order.machine.clone(), action: order.action, at: order.at.0 })
        .collect()
}

/// The newest order for a machine, if it was not carried out.
pub(crate) fn open_order<'a>(pool: &'a NodePool, machine: &Machine) -> Option<&'a RepairOrder> {
    let name = machine.name_any();
    let orders = pool.status.as_ref()?.repairs.iter().filter(|order| order.machine == name);
    orders.max_by_key(|order| order.at.0).filter(|order| is_open(machine, order))
}

fn is_open(machine: &Machine, order: &RepairOrder) -> bool {
    let last = machine.status.as_ref().and_then(|status| status.repair.as_ref()?.last.as_ref());
    last.is_none_or(|last| last.0 < order.at.0)
}

/// What is kept of a pool's orders: those of the last hour, which count, and those that are still to be carried out.
pub(crate) fn kept(orders: &[RepairOrder], machines: &[Arc<Machine>], now: Timestamp) -> Vec<RepairOrder> {
    let open = |order: &RepairOrder| {
        machines.iter().any(|machine| machine.name_any() == order.machine && is_open(machine, order))
    };
    let counts = |order: &RepairOrder| now.duration_since(order.at.0).as_secs() < 3600;
    orders.iter().filter(|order| counts(order) || open(order)).cloned().collect()
}

/// New orders, as they are written down.
pub(crate) fn written(
    orders: &[skep_plan::repair::Order],
    now: Timestamp,
) -> impl Iterator<Item = RepairOrder> {
    let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
    orders.iter().map(move |order| RepairOrder {
        machine: order.machine.clone(),
        action: order.action,
        because: order.because,
        at: at.clone(),
    })
}
