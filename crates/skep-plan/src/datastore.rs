//! Which datastore a new tenant's keys go to.
//!
//! A tenant that has keys stays where they are: moving them is a plan of its own.

use std::cmp::Reverse;

use skep_api::Datastore;
use skep_api::condition::{self, ConditionType};
use skep_api::control_plane::DatastoreRef;
use skep_api::datastore::DatastoreClass;
use skep_api::resources::Reconciliation;

use crate::Refusal;

/// A datastore with what the choice depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Namespace and name.
    pub reference: DatastoreRef,
    /// Shared or dedicated.
    pub class: DatastoreClass,
    /// It answers now.
    pub ready: bool,
    /// It takes no new tenants: paused or being deleted.
    pub closed: bool,
    /// Tenants it has.
    pub tenants: i32,
    /// Tenants it takes.
    pub max_tenants: i32,
}

impl From<&Datastore> for Candidate {
    fn from(datastore: &Datastore) -> Self {
        let status = datastore.status.as_ref();
        Self {
            reference: DatastoreRef {
                namespace: datastore.metadata.namespace.clone().unwrap_or_default(),
                name: datastore.metadata.name.clone().unwrap_or_default(),
            },
            class: datastore.spec.class,
            ready: status.is_some_and(|s| condition::is_true(&s.conditions, ConditionType::Ready)),
            closed: datastore.spec.reconciliation == Reconciliation::Paused
                || datastore.metadata.deletion_timestamp.is_some(),
            tenants: status.and_then(|s| s.tenants).unwrap_or(0),
            max_tenants: datastore.spec.max_tenants,
        }
    }
}

/// The shared datastore that takes another tenant and has the most room; one that answers before one that does not.
///
/// One that does not answer yet is still chosen when there is no other: a cluster that is asked for while the
/// platform starts waits for it instead of being refused.
///
/// # Errors
/// [`Refusal::NoDatastore`] with the reason for each one that was passed over.
pub fn choose(candidates: &[Candidate]) -> Result<DatastoreRef, Refusal> {
    candidates
        .iter()
        .filter(|c| refuses(c).is_none())
        .min_by_key(|c| {
            let room = c.max_tenants - c.tenants;
            (!c.ready, Reverse(room), c.reference.name.as_str())
        })
        .map(|c| c.reference.clone())
        .ok_or_else(|| Refusal::NoDatastore {
            seen: candidates
                .iter()
                .filter_map(|c| Some(format!("{} {}", c.reference.name, refuses(c)?)))
                .collect(),
        })
}

/// Why the datastore takes no new shared tenant; `None` when it does.
fn refuses(candidate: &Candidate) -> Option<String> {
    if candidate.class != DatastoreClass::Shared {
        Some("is dedicated to one tenant".to_owned())
    } else if candidate.closed {
        Some("is paused or being deleted".to_owned())
    } else if candidate.tenants >= candidate.max_tenants {
        Some(format!("is full ({} tenants)", candidate.tenants))
    } else {
        None
    }
}
