//! Carries out what the machine's pool has ordered: evidence, pods, then the act. Everything may be done twice; it counts as
//! one, because the order was counted when it was written.

use kube::ResourceExt as _;
use skep_api::machine::{MachinePhase, MachineRepair};
use skep_api::{Machine, NodePool, RepairAction, RepairCause, RepairOrder, labels};
use skep_kubeops::events::Severity;
use skep_kubeops::{Key, Next};

use super::seen::{Repaired, Seen, Sight};
use super::vacate::Vacated;
use super::{MachineReconciler, drain};
use crate::repair::{self, Outcome};
use crate::tenants::{Node, Tenant};
use crate::{Error, Infrastructure};

impl MachineReconciler {
    /// Takes the next step of the machine's order, if it has one. What this gives ends the pass; `None` lets it go on.
    ///
    /// # Errors
    /// Something refused or could not be reached: nothing irrevocable was done, and the order stays.
    pub(super) async fn repair(
        &self,
        machine: &Machine,
        cluster: &Key,
        tenant: &Tenant,
        infrastructure: &Infrastructure,
        seen: &mut Seen,
    ) -> Result<Option<Next>, Error> {
        let Some((pool, order)) = self.order(machine) else { return Ok(None) };
        // Not from the watch: it may be behind, and what is done now cannot be taken back.
        let name = machine.name_any();
        let node = tenant.applier.get::<Node>(&Key::cluster(&*name)).await.map_err(Error::tenant(cluster))?;
        if machine.spec.repair == MachineRepair::Exempt || !is_needed(&order, node.as_ref()) {
            self.done(machine, &order, Outcome::NotNeeded, seen);
            return Ok(None);
        }
        let uid = machine.metadata.uid.as_deref().unwrap_or_default();
        self.keep_evidence(machine, &pool, &order, node.as_ref(), infrastructure).await?;

        match order.action {
            RepairAction::Reboot => {
                let drains = node.as_ref().is_some_and(Node::answers) && was_ready(machine);
                if drains {
                    let status = machine.status.clone().unwrap_or_default();
                    if let Some(Vacated::NotYet(pause, _)) =
                        self.drained(machine, cluster, tenant, &status, seen).await?
                    {
                        return Ok(Some(Next::After(pause)));
                    }
                    seen.draining = None;
                }
                match infrastructure.provider.reboot(uid).await {
                    Ok(()) => self.done(machine, &order, Outcome::Done, seen),
                    // Then it is made anew by the rest of the pass, or what can be done is to replace it.
                    Err(skep_infra::Error::NoMachine { .. } | skep_infra::Error::NotSupported { .. }) => {
                        self.done(machine, &order, Outcome::NotNeeded, seen);
                    }
                    Err(error) => return Err(error.into()),
                }
                if node.is_some() {
                    // The drain's own doing. Whoever wants to keep a broken node to himself exempts its machine.
                    drain::cordon(tenant, cluster, &name, false).await?;
                }
                Ok(None)
            }
            RepairAction::Replace | RepairAction::Evacuate => {
                self.applier.delete_if_exists::<Machine>(&Key::of(machine), Some(uid)).await?;
                // Not written down as done: the order ends with the machine, and stands if the machine has not gone.
                self.tell(machine, &order, Outcome::Done);
                if let Some(node) = node {
                    seen.node = Sight::There(node.into());
                }
                Ok(Some(Next::After(drain::AGAIN)))
            }
        }
    }

    /// Keeps what is known of the node, once: before its pods are asked to leave.
    async fn keep_evidence(
        &self,
        machine: &Machine,
        pool: &NodePool,
        order: &RepairOrder,
        node: Option<&Node>,
        infrastructure: &Infrastructure,
    ) -> Result<(), Error> {
        if machine.status.as_ref().is_some_and(|status| status.phase == Some(MachinePhase::Draining)) {
            return Ok(());
        }
        let uid = machine.metadata.uid.as_deref().unwrap_or_default();
        let console = infrastructure.provider.console(uid).await;
        let console = console.unwrap_or_else(|error| format!("(the console could not be read: {error})\n"));
        repair::keep(&self.applier, pool, &repair::Evidence { machine, order, node, console: &console }).await
    }

    /// The newest order for this machine that was not carried out, with the pool that gave it.
    fn order(&self, machine: &Machine) -> Option<(std::sync::Arc<NodePool>, RepairOrder)> {
        let pool = machine.labels().get(labels::POOL)?;
        let key = Key::namespaced(machine.namespace().unwrap_or_default(), pool.as_str());
        let pool = self.caches.machine_pools.get(&key)?;
        if !crate::pool::is_of(&pool, machine) {
            return None;
        }
        let order = repair::open_order(&pool, machine)?.clone();
        Some((pool, order))
    }

    fn done(&self, machine: &Machine, order: &RepairOrder, outcome: Outcome, seen: &mut Seen) {
        let rebooted = outcome == Outcome::Done && order.action == RepairAction::Reboot;
        seen.repaired = Some(Repaired { order: order.at.clone(), rebooted });
        self.tell(machine, order, outcome);
    }

    /// Counts what became of an order, and tells people.
    fn tell(&self, machine: &Machine, order: &RepairOrder, outcome: Outcome) {
        self.config.figures.done(order.action, outcome);
        let recorder = &self.config.recorder;
        let (severity, reason, text) = match outcome {
            Outcome::NotNeeded => {
                (Severity::Normal, "RepairCalledOff", "it is not necessary any more".to_owned())
            }
            Outcome::Done => (Severity::Warning, word(order.action), format!("because of {}", order.because)),
        };
        recorder.publish(machine, severity, reason, "Repair", text);
    }
}

fn word(action: RepairAction) -> &'static str {
    match action {
        RepairAction::Reboot => "Rebooted",
        RepairAction::Replace => "Replaced",
        RepairAction::Evacuate => "Evacuated",
    }
}

/// Whether there is still a reason for an order.
fn is_needed(order: &RepairOrder, node: Option<&Node>) -> bool {
    match (order.action, node) {
        (RepairAction::Reboot | RepairAction::Replace, node) => !node.is_some_and(Node::is_ready),
        (RepairAction::Evacuate, Some(node)) => {
            order.because == RepairCause::Flapping || node.failure_signs().next().is_some()
        }
        (RepairAction::Evacuate, None) => false,
    }
}

/// Whether anything can run there that has to leave.
fn was_ready(machine: &Machine) -> bool {
    let phase = machine.status.as_ref().and_then(|status| status.phase);
    matches!(phase, Some(MachinePhase::NotReady | MachinePhase::Draining | MachinePhase::Ready))
}
