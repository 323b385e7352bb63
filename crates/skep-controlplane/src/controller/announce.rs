//! Events: what changed, on the control plane, for people who run `kubectl describe`.

use skep_api::condition::{self, ConditionType};
use skep_api::{ControlPlane, ControlPlaneStatus};
use skep_kubeops::events::Severity;
use skep_pki::Reason;

use super::ControlPlaneReconciler;

impl ControlPlaneReconciler {
    /// Publishes what is new in `status`, and which certificates were issued.
    pub(super) fn announce(
        &self,
        owner: &ControlPlane,
        status: &ControlPlaneStatus,
        issued: Option<&[(String, Reason)]>,
    ) {
        let recorder = &self.config.recorder;
        let renewed: Vec<String> = issued
            .unwrap_or_default()
            .iter()
            .filter(|(_, why)| *why != Reason::Missing)
            .map(|(name, why)| format!("{name} ({})", why.as_str()))
            .collect();
        if !renewed.is_empty() {
            let message = format!("new certificates: {}", renewed.join(", "));
            recorder.publish(owner, Severity::Normal, "CertificatesIssued", "Issue", message);
        }
        let old = owner.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        for type_ in [ConditionType::Ready, ConditionType::Progressing] {
            let Some(new) = condition::get(&status.conditions, type_) else { continue };
            let before = condition::get(old, type_);
            if before.is_some_and(|before| before.reason == new.reason) {
                continue;
            }
            if let Some((severity, reason)) = event(&new.reason) {
                recorder.publish(owner, severity, reason, "Reconcile", new.message.as_str());
            }
        }
    }
}

/// Reasons of conditions that are worth an event. Failures of a pass are published by the controller itself.
fn event(reason: &str) -> Option<(Severity, &'static str)> {
    const WORTH: [(&str, Severity); 6] = [
        ("Serving", Severity::Normal),
        ("RollingOut", Severity::Normal),
        ("ProgramFails", Severity::Warning),
        ("ImageUnavailable", Severity::Warning),
        ("NotScheduled", Severity::Warning),
        ("PodsRefused", Severity::Warning),
    ];
    WORTH.into_iter().find(|(name, _)| *name == reason).map(|(name, severity)| (severity, name))
}
