//! One machine: what should be done, before anybody asks whether it may be done now.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use skep_api::node_pool::{OnFailureSigns, RepairPolicy};
use skep_api::{RepairAction, RepairCause};

use super::signs::{FLAPS, flaps};
use super::{JOIN, Past, Patient, Rules, State, after};

/// What should become of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing: it is well, or somebody else's.
    Well,
    /// A person has taken it out, and it is not well.
    Exempt,
    /// An order for it is being carried out.
    UnderWay(RepairAction),
    /// This, when it stays as it is until then.
    Then(RepairAction, Timestamp),
    /// This, now.
    Now(RepairAction, RepairCause, Timestamp),
    /// It shows signs of failing, and the rules leave it at that.
    Signs(String),
    /// The reboot did not help, and the rules want no more.
    Helpless,
}

/// Judges one machine. `seen` is since when its state is known without a gap; `order` its last order.
pub(super) fn judge(
    rules: &Rules,
    seen: Timestamp,
    patient: &Patient,
    order: Option<&Past>,
    now: Timestamp,
) -> Judgement {
    let (since, limit, cause) = match patient.state {
        State::Busy | State::Leaving => return Judgement::Well,
        State::Ready => return of_ready(rules, seen, patient, order, now),
        State::NotReady(since) => (since, rules.not_ready, RepairCause::NotReady),
        State::Joining(since) => (since, rules.not_ready.max(JOIN), RepairCause::NeverJoined),
    };
    if patient.exempt {
        return Judgement::Exempt;
    }
    let since = since.max(seen);
    let open = order.filter(|order| is_open(patient, order));
    if let Some(order) = open {
        // Not carried out for so long that it never will be. It may have been well in between.
        let stuck = after(order.at.max(seen), rules.drain.saturating_add(limit)).max(after(since, limit));
        return match order.action {
            RepairAction::Reboot if now >= stuck && rules.policy == RepairPolicy::Replace => {
                Judgement::Now(RepairAction::Replace, cause, stuck)
            }
            action => Judgement::UnderWay(action),
        };
    }
    let done = (patient.reboots > 0).then(|| patient.last.map_or(since, |(_, done)| done));
    let (action, due) = match done {
        None => (RepairAction::Reboot, after(since, limit)),
        Some(_) if rules.policy == RepairPolicy::Reboot => return Judgement::Helpless,
        Some(done) => (RepairAction::Replace, after(since.max(done), limit)),
    };
    if now >= due { Judgement::Now(action, cause, due) } else { Judgement::Then(action, due) }
}

fn of_ready(
    rules: &Rules,
    seen: Timestamp,
    patient: &Patient,
    order: Option<&Past>,
    now: Timestamp,
) -> Judgement {
    let flaps = flaps(&patient.stops, now);
    let sign = patient.signs.iter().min_by_key(|(_, since)| *since);
    let (what, since, cause) = match sign {
        Some((what, since)) => (what.clone(), *since, RepairCause::FailureSign),
        None if flaps >= FLAPS => {
            // What it does now has to last as well: it may just have come back.
            let last = patient.stops.iter().copied().max().unwrap_or(now);
            (format!("stopped being ready {flaps} times in an hour"), last, RepairCause::Flapping)
        }
        None => return Judgement::Well,
    };
    if patient.exempt {
        return Judgement::Exempt;
    }
    if let Some(order) = order.filter(|order| is_open(patient, order) && order.action != RepairAction::Reboot)
    {
        return Judgement::UnderWay(order.action);
    }
    if rules.signs == OnFailureSigns::Report || rules.policy != RepairPolicy::Replace {
        return Judgement::Signs(what);
    }
    let due = after(since.max(seen), rules.not_ready);
    let action = RepairAction::Evacuate;
    if now >= due { Judgement::Now(action, cause, due) } else { Judgement::Then(action, due) }
}

/// Whether an order was neither carried out nor given up.
pub(super) fn is_open(patient: &Patient, order: &Past) -> bool {
    order.machine == patient.name && patient.last.is_none_or(|(decided, _)| decided < order.at)
}

impl Patient {
    /// Whether it counts as unhealthy: its node does not work, or has not come in its time. What a person has taken out is
    /// no sign of anything.
    pub(super) fn is_unhealthy(&self, rules: &Rules, now: Timestamp) -> bool {
        match self.state {
            State::NotReady(_) => !self.exempt,
            State::Joining(since) => !self.exempt && now >= after(since, rules.not_ready.max(JOIN)),
            State::Ready | State::Busy | State::Leaving => false,
        }
    }
}

/// When the oldest of the orders that fill the hour leaves it.
pub(super) fn room_at(past: &[Past], per_hour: usize, now: Timestamp) -> Option<Timestamp> {
    let hour: Duration = super::HOUR;
    let mut within: Vec<Timestamp> =
        past.iter().map(|order| order.at).filter(|at| after(*at, hour) > now).collect();
    within.sort_unstable();
    // The one after whose end there is room for one more.
    let at = within.len().checked_sub(per_hour)?;
    within.get(at).map(|at| after(*at, hour))
}
