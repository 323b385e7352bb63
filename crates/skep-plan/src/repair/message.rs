//! What people are told about a decision.

use k8s_openapi::jiff::Timestamp;
use skep_api::RepairAction;
use skep_api::condition::ConditionStatus;

use super::brake::Brake;
use super::decide::{Decision, Ward};
use super::{Calm, Patient, State};

/// Machines named in one clause before the rest is counted.
const NAMED: usize = 5;

fn said(allowed: impl Into<ConditionStatus>, reason: &'static str, message: String) -> Decision {
    Decision {
        orders: Vec::new(),
        allowed: allowed.into(),
        reason,
        message,
        wake: None,
        calm: Calm::default(),
    }
}

/// The pool wants no repair.
pub(super) fn off(patients: &[&Patient]) -> Decision {
    let text = match names(unready(patients)) {
        Some(names) => format!("repair.policy is Off; not ready: {names}"),
        None => "repair.policy is Off".to_owned(),
    };
    said(false, "Off", text)
}

/// Nobody could look.
pub(super) fn blind(why: &str, patients: &[&Patient]) -> Decision {
    let text = match names(unready(patients)) {
        Some(names) => format!("nothing is judged: {why}; last known as not ready: {names}"),
        None => format!("nothing is judged: {why}"),
    };
    said(ConditionStatus::Unknown, "NotSeen", text)
}

/// Something stops it.
pub(super) fn braked(brake: &Brake, ward: &Ward<'_>) -> Decision {
    let why = match brake {
        Brake::TooMany { unhealthy, most } => format!(
            "{unhealthy} nodes are unhealthy and repair.maxUnhealthy allows {most}, so it is not the nodes: look at the \
             network, the infrastructure and the control plane; nothing is repaired until fewer are (SKEP-8064)"
        ),
        Brake::Zone { zones } => format!(
            "most nodes of zone {} are unhealthy, so it is the zone: nothing is repaired there until fewer are (SKEP-8064)",
            zones.join(", ")
        ),
        Brake::Hour { most, until } => format!(
            "repair.maxPerHour allows {most} repairs in an hour and they are used up until {}: look why so many nodes fail \
             (SKEP-8065)",
            time(*until)
        ),
    };
    let mut clauses = vec![why];
    clauses.extend(clauses_of(ward));
    if let Some(names) = names(ward.now.iter().map(|(patient, ..)| *patient)) {
        clauses.push(format!("held back: {names}"));
    }
    let wake = match brake {
        Brake::Hour { until, .. } => soonest(ward).into_iter().chain([*until]).min(),
        Brake::TooMany { .. } | Brake::Zone { .. } => soonest(ward),
    };
    Decision { wake, ..said(false, brake.reason(), clauses.join("; ")) }
}

/// Nothing stops it.
pub(super) fn free(ward: &Ward<'_>) -> Decision {
    let reason = if !ward.under_way.is_empty() {
        "Repairing"
    } else if !ward.helpless.is_empty() {
        "Helpless"
    } else if !ward.later.is_empty() || !ward.exempt.is_empty() || !ward.signs.is_empty() {
        "Watching"
    } else {
        return said(true, "Idle", "no node needs repair".to_owned());
    };
    Decision { wake: soonest(ward), ..said(true, reason, clauses_of(ward).join("; ")) }
}

fn clauses_of(ward: &Ward<'_>) -> Vec<String> {
    let mut clauses = Vec::new();
    for action in [RepairAction::Reboot, RepairAction::Replace, RepairAction::Evacuate] {
        let of = |acts: &RepairAction| *acts == action;
        if let Some(names) =
            names(ward.under_way.iter().filter(|(_, acts)| of(acts)).map(|(patient, _)| *patient))
        {
            clauses.push(format!("{}: {names}", doing(action)));
        }
        let mut later: Vec<_> = ward.later.iter().filter(|(_, acts, _)| of(acts)).collect();
        later.sort_by_key(|(patient, _, due)| (*due, &patient.name));
        let listed: Vec<String> = later
            .iter()
            .take(NAMED)
            .map(|(patient, _, due)| format!("{} at {}", patient.name, time(*due)))
            .collect();
        if !listed.is_empty() {
            clauses.push(format!(
                "{} unless they recover: {}{}",
                will(action),
                listed.join(", "),
                more(later.len())
            ));
        }
    }
    if let Some(names) = names(ward.helpless.iter().copied()) {
        clauses.push(format!(
            "a reboot did not help and repair.policy is Reboot: look at them, or delete their machines: {names} (SKEP-8066)"
        ));
    }
    let signs: Vec<String> =
        ward.signs.iter().take(NAMED).map(|(patient, what)| format!("{} ({what})", patient.name)).collect();
    if !signs.is_empty() {
        clauses.push(format!(
            "signs of failing, only reported: {}{}",
            signs.join(", "),
            more(ward.signs.len())
        ));
    }
    if let Some(names) = names(ward.exempt.iter().copied()) {
        clauses.push(format!("exempt, left to a person: {names}"));
    }
    clauses
}

fn doing(action: RepairAction) -> &'static str {
    match action {
        RepairAction::Reboot => "being rebooted",
        RepairAction::Replace => "being replaced",
        RepairAction::Evacuate => "being evacuated",
    }
}

fn will(action: RepairAction) -> &'static str {
    match action {
        RepairAction::Reboot => "rebooted",
        RepairAction::Replace => "replaced",
        RepairAction::Evacuate => "evacuated",
    }
}

fn soonest(ward: &Ward<'_>) -> Option<Timestamp> {
    // What could be done and waits for others is called for by them.
    ward.later.iter().map(|(_, _, due)| *due).filter(|due| *due > ward.at).min()
}

fn unready<'a>(patients: &'a [&Patient]) -> impl Iterator<Item = &'a Patient> {
    patients.iter().copied().filter(|patient| matches!(patient.state, State::NotReady(_) | State::Joining(_)))
}

/// Some names; none when there are none.
fn names<'a>(patients: impl Iterator<Item = &'a Patient>) -> Option<String> {
    let all: Vec<&str> = patients.map(|patient| patient.name.as_str()).collect();
    let listed = all.iter().take(NAMED).copied().collect::<Vec<_>>().join(", ");
    (!all.is_empty()).then(|| format!("{listed}{}", more(all.len())))
}

fn more(all: usize) -> String {
    match all.saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    }
}

/// To the second: a message that changes by itself is written again and again.
fn time(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}
