//! Where a machine is made, and which one goes.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::{Goal, Member};

/// Zones for so many new machines, each where the fewest of the lasting ones are. `lasting` are those that stay when the
/// update is done: what leaves must not pull new ones into its own zone's absence.
pub(super) fn zones(goal: &Goal, lasting: &[&Member], live: &[&Member], wanted: usize) -> Vec<String> {
    let mut lasting = count(lasting);
    let mut live = count(live);
    let mut chosen = Vec::new();
    for _ in 0..wanted {
        let of = |counts: &BTreeMap<&str, usize>, zone: &str| counts.get(zone).copied().unwrap_or(0);
        // The first of the list among equals.
        let Some(zone) = goal.zones.iter().min_by_key(|zone| (of(&lasting, zone), of(&live, zone))) else {
            break;
        };
        *lasting.entry(zone).or_default() += 1;
        *live.entry(zone).or_default() += 1;
        chosen.push(zone.clone());
    }
    chosen
}

/// So many of the candidates, those that are missed least first: failed, not ready, outdated, from the fullest zone, the
/// youngest. `live` are all that count for the balance of zones.
pub(super) fn least_missed<'a>(
    candidates: &[&'a Member],
    live: &[&Member],
    outdated: impl Fn(&Member) -> bool,
    wanted: usize,
) -> Vec<&'a Member> {
    let mut crowds = count(live);
    let mut left = candidates.to_vec();
    let mut chosen = Vec::new();
    while chosen.len() < wanted {
        let rank = |member: &Member| {
            let crowd = crowds.get(member.zone.as_str()).copied().unwrap_or(0);
            (member.health, !outdated(member), Reverse(crowd), Reverse(member.created))
        };
        let first = (0..left.len()).min_by(|a, b| {
            let (a, b) = (left[*a], left[*b]);
            rank(a).cmp(&rank(b)).then_with(|| a.name.cmp(&b.name))
        });
        let Some(at) = first else { break };
        let member = left.swap_remove(at);
        if let Some(crowd) = crowds.get_mut(member.zone.as_str()) {
            *crowd = crowd.saturating_sub(1);
        }
        chosen.push(member);
    }
    chosen
}

fn count<'a>(members: &[&'a Member]) -> BTreeMap<&'a str, usize> {
    let mut counts = BTreeMap::new();
    for member in members {
        *counts.entry(member.zone.as_str()).or_default() += 1;
    }
    counts
}
