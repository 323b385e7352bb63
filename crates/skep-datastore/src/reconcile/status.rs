//! The status of a `Datastore`: pure, from what a pass met.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::resources::Reconciliation;
use skep_api::{Datastore, DatastoreStatus};
use strum::AsRefStr;

use super::certificates::Certificates;
use super::observe::Observation;
use super::settle::{Answer, Store};
use super::validate::{Wanted, pod};
use crate::Error;
use crate::etcd::Alarm;

/// Sizes are written again only when they moved by this much: every write wakes everybody who watches.
const NOTABLE_BYTES: i64 = 1 << 20;

/// Reasons of a datastore's conditions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, AsRefStr)]
pub(crate) enum Reason {
    Serving,
    Starting,
    Unreachable,
    QuotaReached,
    DataCorrupt,
    NoLeader,
    InvalidSpec,
    NotAsked,
    InUse,
    Deleting,
    Issued,
    NotIssued,
    NotApplied,
    RollingOut,
    Settled,
    Requested,
    Active,
}

/// What one pass met.
pub(crate) struct Pass<'a> {
    /// The parsed spec; `None` when it was not looked at.
    pub wanted: Option<&'a Wanted>,
    /// How certificates and objects went; `None` when they were left alone.
    pub built: Option<&'a Result<Certificates, Error>>,
    /// What etcd said.
    pub store: &'a Store,
    /// What was there at the beginning.
    pub seen: Option<&'a Observation>,
    /// Why the spec or the deletion was refused.
    pub refusal: Option<(Reason, String)>,
}

static NOT_ASKED: Store = Store::Unknown(String::new());

impl Pass<'_> {
    /// A pass that ended at the spec.
    pub(crate) fn refused(error: &Error) -> Self {
        Pass {
            wanted: None,
            built: None,
            store: &NOT_ASKED,
            seen: None,
            refusal: Some((Reason::InvalidSpec, error.to_string())),
        }
    }
}

/// The status after a pass. What the pass did not learn stays as it was.
pub(crate) fn of(
    old: &DatastoreStatus,
    datastore: &Datastore,
    pass: &Pass<'_>,
    now: &Time,
) -> DatastoreStatus {
    let mut status = old.clone();
    let generation = datastore.metadata.generation;
    let set = |conditions: &mut Vec<Condition>, kind, (holds, reason, message): Verdict| {
        condition::set(conditions, kind, holds, reason.as_ref(), message, generation, now);
    };
    if let Some(wanted) = pass.wanted {
        status.endpoints = wanted.endpoints();
    }
    if let Store::Answering(Answer { health, tenants, .. }) = pass.store {
        status.version = Some(health.version.clone());
        status.tenants = i32::try_from(tenants.len()).ok();
        let moved = status.database_bytes.is_none_or(|was| (was - health.size).abs() >= NOTABLE_BYTES);
        if moved {
            status.database_bytes = Some(health.size);
        }
    }
    set(&mut status.conditions, ConditionType::Ready, ready(datastore, pass));
    if let Some(built) = pass.built {
        set(&mut status.conditions, ConditionType::CertificatesReady, certificates(built));
        if built.is_ok() {
            status.observed_generation = generation;
        }
    }
    set(&mut status.conditions, ConditionType::Progressing, progressing(datastore, pass));
    set(&mut status.conditions, ConditionType::Paused, paused(datastore));
    status
}

type Verdict = (ConditionStatus, Reason, String);

fn ready(datastore: &Datastore, pass: &Pass<'_>) -> Verdict {
    use ConditionStatus::{False, True, Unknown};
    if let Some((reason, message)) = &pass.refusal {
        return (False, *reason, message.clone());
    }
    let member = pod(datastore.metadata.name.as_deref().unwrap_or_default());
    match pass.store {
        Store::Unknown(why) => (Unknown, Reason::NotAsked, format!("etcd was not asked: {why}")),
        Store::Silent(_) if !has_ready_member(pass.seen) => (
            False,
            Reason::Starting,
            format!("waiting for pod {member} to become ready; see its events and logs if it does not"),
        ),
        Store::Silent(why) => (
            False,
            Reason::Unreachable,
            format!(
                "pod {member} is ready but etcd does not answer the operator: {why}; see docs/errors/SKEP-5001.md"
            ),
        ),
        Store::Answering(answer) => match answer.health.alarms.first() {
            Some(Alarm::NoSpace) => (
                False,
                Reason::QuotaReached,
                format!(
                    "the database has {} bytes and reached its quota of {}, so etcd takes no writes; raise spec.quota, \
                     see docs/errors/SKEP-5008.md",
                    answer.health.size, datastore.spec.quota
                ),
            ),
            Some(Alarm::Corrupt) => (
                False,
                Reason::DataCorrupt,
                format!("etcd reports damaged data in pod {member}; restore the datastore from a snapshot"),
            ),
            None if !answer.health.has_leader => {
                (False, Reason::NoLeader, "etcd has no leader; most of its members must run".to_owned())
            }
            None => (True, Reason::Serving, format!("etcd {} takes reads and writes", answer.health.version)),
        },
    }
}

fn certificates(built: &Result<Certificates, Error>) -> Verdict {
    match built {
        Ok(_) => (
            ConditionStatus::True,
            Reason::Issued,
            "all certificates are in their time and renewed by themselves".to_owned(),
        ),
        Err(error @ Error::CertificateFailed { .. }) => {
            (ConditionStatus::False, Reason::NotIssued, error.to_string())
        }
        Err(error) => (ConditionStatus::Unknown, Reason::NotApplied, error.to_string()),
    }
}

fn progressing(datastore: &Datastore, pass: &Pass<'_>) -> Verdict {
    use ConditionStatus::{False, True};
    if datastore.metadata.deletion_timestamp.is_some() {
        let message = "removing the member and its disk".to_owned();
        return match &pass.refusal {
            Some((reason, message)) => (False, *reason, message.clone()),
            None => (True, Reason::Deleting, message),
        };
    }
    if let Some((reason, message)) = &pass.refusal {
        return (False, *reason, message.clone());
    }
    if let Some(Err(error)) = pass.built {
        return (True, Reason::NotApplied, error.to_string());
    }
    match pass.seen.and_then(|seen| seen.stateful_set.as_ref()) {
        None => (True, Reason::Starting, "its objects have been created".to_owned()),
        Some(set) => match rolling(set) {
            Some(waiting) => (True, Reason::RollingOut, waiting),
            None => (False, Reason::Settled, "everything is as the spec says".to_owned()),
        },
    }
}

fn paused(datastore: &Datastore) -> Verdict {
    match datastore.spec.reconciliation {
        Reconciliation::Paused => (
            ConditionStatus::True,
            Reason::Requested,
            "nothing is changed until spec.reconciliation is Active".to_owned(),
        ),
        Reconciliation::Active => {
            (ConditionStatus::False, Reason::Active, "the spec is being followed".to_owned())
        }
    }
}

fn has_ready_member(seen: Option<&Observation>) -> bool {
    seen.and_then(Observation::status).is_some_and(|s| s.ready_replicas.unwrap_or(0) > 0)
}

/// What the StatefulSet still waits for.
fn rolling(set: &StatefulSet) -> Option<String> {
    let name = pod(set.metadata.name.as_deref().unwrap_or_default());
    let status = set.status.as_ref();
    let wanted = set.spec.as_ref().and_then(|s| s.replicas).unwrap_or(1);
    let observed = status.and_then(|s| s.observed_generation) >= set.metadata.generation;
    let updated = status.is_some_and(|s| s.updated_replicas.unwrap_or(0) >= wanted);
    let ready = status.is_some_and(|s| s.ready_replicas.unwrap_or(0) >= wanted);
    if !observed || !updated {
        Some(format!("waiting for pod {name} to be replaced"))
    } else if !ready {
        Some(format!("waiting for pod {name} to become ready"))
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
