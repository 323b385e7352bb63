//! What is left in the zones: whether so many machines have room, and where most is free.

use std::collections::BTreeMap;

use super::{Candidate, Facts, Opinion};

/// What one machine takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// Processors, in thousandths.
    pub milli_cpu: u64,
    /// Memory in bytes.
    pub memory: u64,
}

/// What one host of machines has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hypervisor {
    /// Processors, in thousandths.
    pub milli_cpu: u64,
    /// Memory in bytes.
    pub memory: u64,
}

/// What is left, by zone. A zone that is not in it is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stock(pub BTreeMap<String, Vec<Hypervisor>>);

impl Hypervisor {
    /// Machines of this size that it has room for. A machine stands on one hypervisor, so rests do not add up.
    fn room(&self, size: Size) -> u64 {
        let of = |free: u64, taken: u64| free.checked_div(taken).unwrap_or(u64::MAX);
        of(self.milli_cpu, size.milli_cpu).min(of(self.memory, size.memory))
    }
}

pub(super) fn judge(candidate: &Candidate, facts: &Facts) -> Opinion {
    let (Some(pool), Some(zone)) = (facts.pools.get(&candidate.group), candidate.zone(facts)) else {
        return Opinion::Silent;
    };
    let Some(hypervisors) = facts.stock.0.get(zone) else { return Opinion::Silent };
    let room = hypervisors.iter().fold(0_u64, |sum, host| sum.saturating_add(host.room(pool.size)));
    let words = format!("zone {zone} has room for {room} machines of class {}", pool.class);
    match room >= u64::from(candidate.nodes) {
        true => Opinion::Possible(words),
        false => Opinion::Impossible(format!("{words}, and {} are needed", candidate.nodes)),
    }
}

/// The zone and its whole free cores, if they are known.
pub(super) fn free_cores<'a>(candidate: &'a Candidate, facts: &'a Facts) -> Option<(&'a str, u64)> {
    let zone = candidate.zone(facts)?;
    let hypervisors = facts.stock.0.get(zone)?;
    let milli = hypervisors.iter().fold(0_u64, |sum, host| sum.saturating_add(host.milli_cpu));
    Some((zone, milli / 1000))
}
