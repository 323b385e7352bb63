//! Tells people what became of a machine, on the machine.

use skep_api::condition::{self, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::{Machine, MachineStatus};
use skep_kubeops::events::Severity;

use super::MachineReconciler;

impl MachineReconciler {
    /// An event for each new phase.
    pub(super) fn announce(&self, machine: &Machine, new: &MachineStatus) {
        let old = machine.status.as_ref().and_then(|status| status.phase);
        let Some(phase) = new.phase.filter(|phase| Some(*phase) != old) else { return };
        let ready = condition::get(&new.conditions, ConditionType::Ready);
        let message = ready.map(|condition| condition.message.clone()).unwrap_or_default();
        let (severity, reason) = word(phase);
        self.config.recorder.publish(machine, severity, reason, "Reconcile", message);
    }
}

fn word(phase: MachinePhase) -> (Severity, &'static str) {
    match phase {
        MachinePhase::Pending => (Severity::Normal, "Pending"),
        MachinePhase::Provisioning => (Severity::Normal, "Provisioning"),
        MachinePhase::Joining => (Severity::Normal, "Joining"),
        MachinePhase::Ready => (Severity::Normal, "Ready"),
        MachinePhase::NotReady => (Severity::Warning, "NotReady"),
        MachinePhase::Draining => (Severity::Normal, "Draining"),
        MachinePhase::Deleting => (Severity::Normal, "Deleting"),
        MachinePhase::Failed => (Severity::Warning, "Failed"),
    }
}
