//! The machine behind an object goes: pods, node, machine, in this order. The object may stay.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::node_pool::OnDrainTimeout;
use skep_api::{Machine, MachineStatus};
use skep_infra::Deleted;
use skep_kubeops::Key;
use skep_kubeops::events::Severity;

use super::MachineReconciler;
use super::drain::{self, Progress};
use super::seen::{Seen, Sight};
use crate::Error;
use crate::tenants::{Node, Tenant};

/// Pause before an infrastructure is asked again how far it is.
const AGAIN: Duration = Duration::from_secs(2);

/// How far it is.
pub(super) enum Vacated {
    /// Nothing is left but the object.
    Yes,
    /// Pods, or the infrastructure, are asked again after this long; the sentence says what is waited for.
    NotYet(Duration, String),
}

impl MachineReconciler {
    /// Takes the next step. `tenant` is the cluster, or why it cannot be reached; `None` when nobody needs its nodes any
    /// more.
    ///
    /// # Errors
    /// Something refused or could not be reached. What does not depend on it was done.
    pub(super) async fn vacate(
        &self,
        machine: &Machine,
        cluster: &Key,
        tenant: Option<Result<Arc<Tenant>, Error>>,
        seen: &mut Seen,
    ) -> Result<Vacated, Error> {
        let status = machine.status.clone().unwrap_or_default();
        if status.template.is_none() {
            // Nothing was ever asked for.
            return Ok(Vacated::Yes);
        }
        let (tenant, mut away) = match tenant {
            Some(Ok(tenant)) => (Some(tenant), None),
            Some(Err(error)) => (None, Some(error)),
            None => (None, None),
        };
        // Once it is the machine's turn, its node need not be asked any more, and may not be able to answer.
        if status.phase != Some(MachinePhase::Deleting) {
            let drained = match (&tenant, away.take()) {
                (Some(tenant), _) => self.drained(machine, cluster, tenant, &status, seen).await,
                (None, Some(error)) => {
                    // The clock runs while the API server is away.
                    seen.draining = Some(("Draining", "pods cannot be asked to leave".to_owned()));
                    Err(error)
                }
                (None, None) => Ok(None),
            };
            match drained {
                Ok(Some(waits)) => return Ok(waits),
                Ok(None) => {}
                // An API server that does not answer must not keep a machine for ever, if the rules do not want that.
                Err(error) if may_go_without(machine, &status, self.config.now()) => away = Some(error),
                Err(error) => return Err(error),
            }
        }
        seen.draining = None;
        seen.removing = true;
        if let Some(tenant) = &tenant {
            // The node goes first, so that its pods are started elsewhere while the machine is being removed, and the token
            // before it: a machine that is told may try to come back. What fails here is done again below.
            let _ = forget(tenant, cluster, machine, &status).await;
        }
        if !self.given_back(machine).await? {
            return Ok(Vacated::NotYet(AGAIN, "the infrastructure removes the machine".to_owned()));
        }
        match (&tenant, away) {
            (Some(tenant), _) => {
                // Once more: until the machine was gone, its kubelet could bring the node back.
                forget(tenant, cluster, machine, &status).await?;
            }
            (None, Some(error)) => return Err(error),
            (None, None) => {}
        }
        seen.node = Sight::Absent;
        seen.vacated = true;
        Ok(Vacated::Yes)
    }

    /// Drains the node, if there is one and the rules want it; says what is waited for.
    pub(super) async fn drained(
        &self,
        machine: &Machine,
        cluster: &Key,
        tenant: &Tenant,
        status: &MachineStatus,
        seen: &mut Seen,
    ) -> Result<Option<Vacated>, Error> {
        let rules = &machine.spec.drain;
        if rules.timeout_seconds == 0 {
            return Ok(None);
        }
        seen.draining = Some(("Draining", "pods are asked to leave".to_owned()));
        tenant.synced(cluster).await?;
        let Some(node) = tenant.node(&machine.name_any()).filter(|node| is_ours(node, status)) else {
            return Ok(None);
        };
        seen.node = Sight::There(node.clone());
        // A drain may take hours, and its node serves until it is over.
        self.approve(machine, cluster, tenant, None).await?;
        let now = self.config.now();
        let progress = drain::step(tenant, cluster, &node, rules, started(status, now), now).await?;
        let (reason, pause, text) = match progress {
            Progress::Done => return Ok(None),
            Progress::Waits(text) => ("Draining", drain::AGAIN, text),
            Progress::Blocked(text) => ("Blocked", drain::BLOCKED_AGAIN, text),
            Progress::Forced(text) => {
                self.config.recorder.publish(machine, Severity::Warning, "DrainTimedOut", "Drain", text);
                return Ok(None);
            }
        };
        seen.draining = Some((reason, text.clone()));
        Ok(Some(Vacated::NotYet(pause, text)))
    }

    /// Gives the machine back; says whether it is gone. Everybody is asked: a class may be gone, or be another one of its
    /// name by now, and whoever has not made the machine has nothing to do.
    async fn given_back(&self, machine: &Machine) -> Result<bool, Error> {
        let uid = machine.metadata.uid.as_deref().unwrap_or_default();
        let name = &machine.spec.template.machine_class;
        let missing = |why: String| Error::NoInfrastructure { machine: Key::of(machine), why };
        match self.caches.classes.get(&Key::cluster(name.as_str())) {
            Some(class) => drop(self.config.infrastructure(class.spec.provider).map_err(missing)?),
            // It may be of any kind, and one of them is not at hand.
            None => {
                if let Some(why) = self.config.infrastructures.values().find_map(|one| one.as_ref().err()) {
                    return Err(missing(format!("its class {name:?} is gone, and {why}")));
                }
            }
        }
        let mut gone = true;
        for infrastructure in self.config.infrastructures.values().flatten() {
            gone &= infrastructure.provider.delete(uid).await? == Deleted::Gone;
        }
        Ok(gone)
    }
}

/// Takes token and node out of the cluster.
async fn forget(
    tenant: &Tenant,
    cluster: &Key,
    machine: &Machine,
    status: &MachineStatus,
) -> Result<(), Error> {
    let uid = machine.metadata.uid.as_deref().unwrap_or_default();
    crate::bootstrap::token::remove(&tenant.applier, cluster, uid).await?;
    tenant.delete_node(cluster, &machine.name_any(), |node| is_ours(node, status)).await
}

/// Whether a machine may go although its pods could not be asked: its time is over and its rules say so.
fn may_go_without(machine: &Machine, status: &MachineStatus, now: Timestamp) -> bool {
    let rules = &machine.spec.drain;
    rules.on_timeout == OnDrainTimeout::Force && drain::is_over(rules, started(status, now), now)
}

/// When the drain began: with the first pass that said so.
fn started(status: &MachineStatus, now: Timestamp) -> Timestamp {
    condition::get(&status.conditions, ConditionType::Draining)
        .filter(|condition| condition.status == ConditionStatus::True.as_ref())
        .map_or(now, |condition| condition.last_transition_time.0)
}

/// Whether a node of the machine's name is on the machine: by what it says it is on, if it says so.
pub(super) fn is_ours(node: &Node, status: &MachineStatus) -> bool {
    match (&node.spec.provider_id, &status.provider_id) {
        (Some(node), Some(machine)) => node == machine,
        (Some(_), None) => status.node.is_some(),
        (None, _) => true,
    }
}
