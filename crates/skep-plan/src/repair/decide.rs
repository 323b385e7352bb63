//! The one decision about a pool.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use skep_api::condition::ConditionStatus;
use skep_api::node_pool::RepairPolicy;
use skep_api::{RepairAction, RepairCause};

use super::brake::{self, Brake};
use super::judge::{Judgement, is_open, judge, room_at};
use super::{Calm, Order, Past, Patient, Rules, Sight, State, message};

/// What is done, and what people are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is done now.
    pub orders: Vec<Order>,
    /// Whether repair may act, for the condition.
    pub allowed: ConditionStatus,
    /// Condition reason.
    pub reason: &'static str,
    /// A sentence that names the machines and what happens to them next.
    pub message: String,
    /// When to decide again although nothing has happened.
    pub wake: Option<Timestamp>,
    /// To be given to the next decision.
    pub calm: Calm,
}

/// Judgements by what they are.
#[derive(Default)]
pub(super) struct Ward<'a> {
    /// When they were made.
    pub(super) at: Timestamp,
    pub(super) exempt: Vec<&'a Patient>,
    pub(super) under_way: Vec<(&'a Patient, RepairAction)>,
    pub(super) later: Vec<(&'a Patient, RepairAction, Timestamp)>,
    pub(super) now: Vec<(&'a Patient, RepairAction, RepairCause, Timestamp)>,
    pub(super) signs: Vec<(&'a Patient, String)>,
    pub(super) helpless: Vec<&'a Patient>,
}

impl<'a> Ward<'a> {
    fn sort(
        rules: &Rules,
        seen: Timestamp,
        calm: &Calm,
        patients: &[&'a Patient],
        past: &[Past],
        now: Timestamp,
    ) -> Self {
        let mut orders: BTreeMap<&str, &Past> = BTreeMap::new();
        for order in past {
            let last = orders.entry(&order.machine).or_insert(order);
            if order.at >= last.at {
                *last = order;
            }
        }
        let mut ward = Self { at: now, ..Self::default() };
        for patient in patients.iter().copied() {
            let seen = calm.since(&patient.zone).map_or(seen, |calm| calm.max(seen));
            match judge(rules, seen, patient, orders.get(&*patient.name).copied(), now) {
                Judgement::Well => {}
                Judgement::Exempt => ward.exempt.push(patient),
                Judgement::UnderWay(action) => ward.under_way.push((patient, action)),
                Judgement::Then(action, due) => ward.later.push((patient, action, due)),
                Judgement::Now(action, because, due) => ward.now.push((patient, action, because, due)),
                Judgement::Signs(what) => ward.signs.push((patient, what)),
                Judgement::Helpless => ward.helpless.push(patient),
            }
        }
        // Those that do not work before those that still do, and who has waited longest first.
        ward.now.sort_by(|a, b| {
            let rank = |one: &(&Patient, RepairAction, RepairCause, Timestamp)| {
                (one.1 == RepairAction::Evacuate, one.3)
            };
            rank(a).cmp(&rank(b)).then_with(|| a.0.name.cmp(&b.0.name))
        });
        ward
    }
}

/// Decides about a pool. `past` are its orders of the last hour and those that are not done; the caller keeps what is
/// decided before anything is done. `calm` is what the last decision gave.
pub fn decide(
    rules: &Rules,
    sight: &Sight,
    calm: &Calm,
    patients: &[Patient],
    past: &[Past],
    now: Timestamp,
) -> Decision {
    let mut patients: Vec<&Patient> = patients.iter().collect();
    patients.sort_by(|a, b| a.name.cmp(&b.name));
    if rules.policy == RepairPolicy::Off {
        return Decision { calm: calm.clone(), ..message::off(&patients) };
    }
    let seen = match sight {
        Sight::Blind(why) => return Decision { calm: calm.clone(), ..message::blind(why, &patients) },
        Sight::Since(seen) => *seen,
    };
    let too_many = brake::too_many(rules, &patients, now);
    let dark = match too_many {
        Some(_) => patients.iter().map(|patient| patient.zone.clone()).collect(),
        None => brake::dark_zones(rules, &patients, now),
    };
    let calm = calm.after(&dark, rules, now);
    let mut ward = Ward::sort(rules, seen, &calm, &patients, past, now);
    if let Some(brake) = too_many {
        return Decision { calm, ..message::braked(&brake, &ward) };
    }
    let held = ward.now.extract_if(.., |(patient, ..)| dark.contains(&patient.zone)).count();
    let room = rules.per_hour.saturating_sub(within_the_hour(past, now));
    let mut evacuating = evacuations(&patients, past) > 0 || !ward.under_way.is_empty();
    let unhealthy = patients.iter().filter(|patient| patient.is_unhealthy(rules, now)).count();
    let no_spare = unhealthy + 1 > brake::most(rules, &patients);
    let mut orders = Vec::new();
    let mut kept = Vec::new();
    for one in std::mem::take(&mut ward.now) {
        let (patient, action, because, due) = one;
        // One that still works can wait until everybody else does.
        if action == RepairAction::Evacuate && (evacuating || no_spare || unhealthy > 0) {
            ward.later.push((patient, action, due));
        } else if orders.len() < room {
            evacuating |= action == RepairAction::Evacuate;
            orders.push(Order { machine: patient.name.clone(), action, because });
            ward.under_way.push((patient, action));
        } else {
            kept.push(one);
        }
    }
    ward.now = kept;
    let brake = if !ward.now.is_empty() {
        let until = room_at(past, rules.per_hour, now);
        // Filled by this very decision: what it has ordered leaves the hour last.
        let until = until.unwrap_or_else(|| super::after(now, super::HOUR));
        Some(Brake::Hour { most: rules.per_hour, until })
    } else if held > 0 {
        Some(Brake::Zone { zones: dark })
    } else {
        None
    };
    let mut decision = match brake {
        Some(brake) => message::braked(&brake, &ward),
        None => message::free(&ward),
    };
    (decision.orders, decision.calm) = (orders, calm);
    decision
}

impl Calm {
    fn since(&self, zone: &str) -> Option<Timestamp> {
        self.zones.get(zone).copied().flatten()
    }

    /// What is known after a look that found these zones to blame.
    fn after(&self, dark: &[String], rules: &Rules, now: Timestamp) -> Self {
        let over = |since: Timestamp| super::since(since, now) > rules.not_ready.max(super::JOIN);
        let back = self.zones.iter().filter(|(zone, _)| !dark.contains(zone));
        let back = back
            .map(|(zone, since)| (zone.clone(), Some(since.unwrap_or(now))))
            .filter(|(_, since)| since.is_some_and(|since| !over(since)));
        Self { zones: dark.iter().map(|zone| (zone.clone(), None)).chain(back).collect() }
    }
}

fn within_the_hour(past: &[Past], now: Timestamp) -> usize {
    past.iter().filter(|order| super::after(order.at, super::HOUR) > now).count()
}

/// Evacuations whose machine is still there.
fn evacuations(patients: &[&Patient], past: &[Past]) -> usize {
    let there = |order: &Past| {
        patients.iter().any(|patient| {
            patient.name == order.machine && (patient.state == State::Leaving || is_open(patient, order))
        })
    };
    past.iter().filter(|order| order.action == RepairAction::Evacuate && there(order)).count()
}
