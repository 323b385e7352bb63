//! Pure: what repair and updates are going to judge a machine by, kept in its status as it is seen.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::{FailureSign, MachineStatus};
use skep_plan::repair;

use super::seen::{Seen, Sight};
use crate::tenants::Node;

/// Times and signs kept at most, as the schema has it.
const MOST_STOPS: usize = 16;
const MOST_SIGNS: usize = 8;
/// Longest texts of a sign, as the schema has it.
const LONGEST_TYPE: usize = 64;
const LONGEST_MESSAGE: usize = 256;

/// Brings it up to date. `status` has its new phase; `old` is the status before this pass.
pub(super) fn keep(status: &mut MachineStatus, old: Option<&MachineStatus>, seen: &Seen, now: &Time) {
    let now = whole(now);
    let was_ready = old.is_some_and(|old| old.phase == Some(MachinePhase::Ready));
    if let (Some(record), Some(since)) = (&mut status.repair, old.filter(|_| was_ready).and_then(ready_since))
        && repair::is_forgotten(since, now.0)
    {
        record.reboots = 0;
    }
    if seen.vacated || seen.begun.is_some() {
        // Another machine under the same name. The last order stays known: it was for the one before.
        status.unready_since = None;
        status.stops.clear();
        status.failure_signs.clear();
        status.repair.iter_mut().for_each(|record| record.reboots = 0);
    }
    if let Some(repaired) = &seen.repaired {
        let record = status.repair.get_or_insert_default();
        record.reboots = (record.reboots + i32::from(repaired.rebooted)).min(1000);
        record.last = Some(repaired.order.clone());
        record.done = Some(now.clone());
    }
    status.stops.retain(|stop| now.0.duration_since(stop.0).as_secs() < 3600);
    match status.phase {
        Some(MachinePhase::Ready) => status.unready_since = None,
        Some(MachinePhase::NotReady | MachinePhase::Joining | MachinePhase::Failed) => {
            if was_ready && status.phase == Some(MachinePhase::NotReady) {
                status.stops.push(now.clone());
                let surplus = status.stops.len().saturating_sub(MOST_STOPS);
                status.stops.drain(..surplus);
            }
            status.unready_since.get_or_insert(now.clone());
        }
        // Being made, changed or drained is not being broken.
        _ => {}
    }
    match &seen.node {
        Sight::There(node) => status.failure_signs = signs(node, &status.failure_signs, &now),
        Sight::Absent => status.failure_signs.clear(),
        Sight::Unseen | Sight::Foreign(_) => {}
    }
}

fn ready_since(status: &MachineStatus) -> Option<Timestamp> {
    condition::get(&status.conditions, ConditionType::NodeReady)
        .filter(|condition| condition.status == ConditionStatus::True.as_ref())
        .map(|condition| condition.last_transition_time.0)
}

/// What a node says that it suffers from; each with the time since when.
fn signs(node: &Node, old: &[FailureSign], now: &Time) -> Vec<FailureSign> {
    let short = |text: &str, most: usize| text.chars().take(most).collect::<String>();
    let mut signs: Vec<FailureSign> = node
        .failure_signs()
        .map(|condition| FailureSign {
            type_: short(&condition.type_, LONGEST_TYPE),
            message: short(&condition.message, LONGEST_MESSAGE),
            since: old
                .iter()
                .find(|sign| sign.type_ == condition.type_)
                .map_or_else(|| now.clone(), |sign| sign.since.clone()),
        })
        .collect();
    signs.sort_by(|a, b| a.type_.cmp(&b.type_));
    signs.dedup_by(|a, b| a.type_ == b.type_);
    signs.truncate(MOST_SIGNS);
    signs
}

/// Times of objects have seconds.
pub(crate) fn whole(now: &Time) -> Time {
    Time(Timestamp::from_second(now.0.as_second()).unwrap_or(now.0))
}
