//! What stops repair: it is not the nodes then, or it has done enough for now.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;

use super::{Patient, Rules, State};

/// Share of a zone's nodes, in per cent, from which on the zone is to blame: upstream's node controller stops evicting
/// there (`--unhealthy-zone-threshold`, 0.55).
const ZONE_PERCENT: usize = 55;
/// Unhealthy nodes up to which no zone is judged (`ComputeZoneState` of the same controller: more than two).
const ZONE_FEWEST: usize = 2;

/// What stops repair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Brake {
    /// More nodes than the pool allows are unhealthy at once.
    TooMany {
        /// How many are.
        unhealthy: usize,
        /// How many may be.
        most: usize,
    },
    /// Most of a zone is unhealthy; nothing is done there.
    Zone {
        /// Those zones.
        zones: Vec<String>,
    },
    /// As many orders as an hour may have were given.
    Hour {
        /// How many those are.
        most: usize,
        /// When the next may be given.
        until: Timestamp,
    },
}

impl Brake {
    /// Condition reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::TooMany { .. } => "TooManyUnhealthy",
            Self::Zone { .. } => "ZoneUnhealthy",
            Self::Hour { .. } => "HourlyLimit",
        }
    }
}

/// Whether too many are unhealthy at once.
pub(super) fn too_many(rules: &Rules, patients: &[&Patient], now: Timestamp) -> Option<Brake> {
    let unhealthy = patients.iter().filter(|patient| patient.is_unhealthy(rules, now)).count();
    let most = most(rules, patients);
    (unhealthy > most).then_some(Brake::TooMany { unhealthy, most })
}

/// How many may be unhealthy: a part of a node counts as one, or small pools would never be repaired.
pub(super) fn most(rules: &Rules, patients: &[&Patient]) -> usize {
    let whole = patients.iter().filter(|patient| patient.state != State::Leaving).count();
    rules.max_unhealthy.rounded_up(whole)
}

/// Zones that are to blame themselves.
pub(super) fn dark_zones(rules: &Rules, patients: &[&Patient], now: Timestamp) -> Vec<String> {
    let mut zones: BTreeMap<&str, (usize, usize)> = BTreeMap::new();
    for patient in patients.iter().filter(|patient| patient.state != State::Leaving) {
        let (unhealthy, all) = zones.entry(&patient.zone).or_default();
        *unhealthy += usize::from(patient.is_unhealthy(rules, now));
        *all += 1;
    }
    let dark =
        |(unhealthy, all): &(usize, usize)| *unhealthy > ZONE_FEWEST && unhealthy * 100 >= all * ZONE_PERCENT;
    zones.into_iter().filter(|(_, counts)| dark(counts)).map(|(zone, _)| zone.to_owned()).collect()
}
