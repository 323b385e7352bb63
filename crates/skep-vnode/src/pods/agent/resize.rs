//! Resources that change while a pod runs: granted at once, later, or never.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use crate::backend::{EventKind, PodRuntimeStatus, PodUid, ResizeState};
use crate::pods::admission::admit_resize;
use crate::pods::requests::{requests, resources_differ, with_resources_of};

use super::Agent;

impl Agent {
    /// Decides what the backend may be given: the pod as it is, or the pod with the resources it has had so far.
    pub(super) fn grant(&mut self, uid: &PodUid) {
        let Some(entry) = self.entries.get(uid) else { return };
        let pod = entry.pod.clone();
        let before = entry.granted.clone();
        let (Some(spec), Some(granted)) = (&pod.spec, before.as_ref().and_then(|pod| pod.spec.as_ref()))
        else {
            return;
        };
        if !resources_differ(granted, spec) {
            if let Some(entry) = self.entries.get_mut(uid) {
                entry.granted = Some(pod);
                entry.resize_pending = None;
            }
            return;
        }
        let wanted = requests(spec);
        let verdict = admit_resize(&wanted, &self.config.offer, &self.taken(uid));
        let generation = pod.metadata.generation.unwrap_or_default();
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match verdict {
            Ok(()) => {
                let room = entry.holds.replace(wanted).is_some();
                entry.granted = Some(pod.clone());
                entry.resize_pending = None;
                entry.resizing = Some(generation);
                let message = format!("Pod resize started: {{\"generation\":{generation}}}");
                self.event(&pod, EventKind::Normal, "ResizeStarted", message);
                // A smaller pod may be what another one waits for.
                if room {
                    self.wake_resizes(uid);
                }
            }
            Err(pending) => {
                let kept = with_resources_of(spec, granted);
                entry.granted = Some(Arc::new(Pod { spec: Some(kept), ..(*pod).clone() }));
                let news = entry.resize_pending.as_ref() != Some(&pending);
                let (reason, message) = (pending.infeasible, pending.message.clone());
                entry.resize_pending = Some(pending);
                if news {
                    let reason = if reason { "ResizeInfeasible" } else { "ResizeDeferred" };
                    let message = format!("Pod resize {{\"generation\":{generation}}}: {message}");
                    self.event(&pod, EventKind::Warning, reason, message);
                }
            }
        }
    }

    /// Notes the end of a resize.
    pub(super) fn resize_progress(&mut self, uid: &PodUid, runtime: Option<&PodRuntimeStatus>) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let (Some(generation), Some(runtime)) = (entry.resizing, runtime) else { return };
        let pod = entry.pod.clone();
        let seen = runtime.observed_generation.is_none_or(|observed| observed >= generation);
        match &runtime.resize {
            ResizeState::Done if seen => {
                entry.resizing = None;
                let message = format!("Pod resize completed: {{\"generation\":{generation}}}");
                self.event(&pod, EventKind::Normal, "ResizeCompleted", message);
            }
            ResizeState::Failed(problem) => {
                entry.resizing = None;
                let message = format!("Pod resize error: {{\"generation\":{generation}}}: {problem}");
                self.event(&pod, EventKind::Warning, "ResizeError", message);
            }
            ResizeState::Done | ResizeState::InProgress => {}
        }
    }

    fn wake_resizes(&mut self, except: &PodUid) {
        let waiting = self
            .entries
            .iter()
            .filter(|(uid, entry)| entry.resize_pending.is_some() && *uid != except)
            .map(|(uid, _)| uid.clone())
            .collect::<Vec<_>>();
        for uid in waiting {
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.given = None;
            }
            self.look_again(&uid, std::time::Duration::ZERO);
        }
    }

    fn event(&self, pod: &Pod, kind: EventKind, reason: &str, message: String) {
        self.config.recorder.pod(&self.config.name, pod, kind, reason, message);
    }
}
