//! One pass over one pod: facts, decision, deed.

use std::net::IpAddr;
use std::sync::Arc;

use crate::backend::{EventKind, PodRuntimeStatus, PodUid};
use crate::pods::decision::{Decision, decide};
use crate::pods::status::{self, Failure, StatusInput};

use super::Agent;
use super::tasks::Task;

impl Agent {
    /// Takes the next step for a pod. While a call for it is on its way nothing happens: the call's end comes back here.
    pub(super) fn advance(&mut self, uid: &PodUid) {
        if !self.listed {
            return;
        }
        let runtime = self.config.backend.status(uid);
        let Some(entry) = self.entries.get(uid).filter(|entry| entry.call.is_none()) else { return };
        let view = entry.view(runtime.as_ref().map(|runtime| runtime.lifecycle));
        match decide(&view) {
            Decision::Wait => {}
            Decision::Forget => self.forget(uid),
            Decision::Remove => self.call(uid, Task::Remove),
            Decision::Finish => self.finish(uid, runtime.as_deref()),
            Decision::Stop(grace) => {
                if let Err(error) = self.config.backend.stop_pod(uid, grace) {
                    tracing::warn!(%uid, %error, "a pod could not be stopped");
                }
                let runtime = self.config.backend.status(uid);
                self.report(uid, runtime.as_deref());
            }
            Decision::Start => {
                self.start(uid);
                self.settle(uid);
            }
            Decision::Sync => {
                self.sync(uid);
                self.settle(uid);
            }
            Decision::Report => self.settle(uid),
        }
    }

    /// After the backend knows what it should: watch the pod's time, tell the world.
    fn settle(&mut self, uid: &PodUid) {
        let runtime = self.config.backend.status(uid);
        self.resize_progress(uid, runtime.as_deref());
        if !self.deadline_over(uid) {
            self.report(uid, runtime.as_deref());
        }
    }

    /// Sends the status when it is not what the API server has. Returns at once.
    fn report(&mut self, uid: &PodUid, runtime: Option<&PodRuntimeStatus>) {
        let Some(entry) = self.entries.get(uid) else { return };
        if entry.call.is_some() || !entry.in_api || entry.deleted {
            return;
        }
        let patch = self.patch(uid, runtime);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        match patch {
            None => entry.futile = None,
            Some(patch) if entry.futile.as_ref() == Some(&patch) => {}
            Some(patch) => {
                entry.sent = Some(patch.clone());
                self.call(uid, Task::Patch(patch));
            }
        }
        self.release_when_ended(uid);
    }

    /// A patch was taken: what would be sent next must be another one.
    pub(super) fn note_futile(&mut self, uid: &PodUid) {
        let runtime = self.config.backend.status(uid);
        let next = self.patch(uid, runtime.as_deref());
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let sent = entry.sent.take();
        if sent.is_some() && sent == next {
            let pod = entry.name();
            tracing::warn!(pod, patch = ?sent, "the API server keeps another status than it is sent");
            entry.futile = sent;
        }
    }

    /// The difference between what the API server has and what is true.
    fn patch(&self, uid: &PodUid, runtime: Option<&PodRuntimeStatus>) -> Option<serde_json::Value> {
        let entry = self.entries.get(uid)?;
        let status = status::build(&StatusInput {
            pod: &entry.pod,
            old: &entry.status,
            runtime,
            failure: entry.failure.as_ref(),
            resize_pending: entry.resize_pending.as_ref(),
            pod_ip: entry.ip,
            host_ip: IpAddr::V4(self.config.address),
            start_time: entry.start_time,
            now: Self::now(),
        });
        match status::patch(&entry.status, &status, uid.as_str()) {
            Ok(patch) => patch,
            Err(error) => {
                tracing::error!(%uid, %error, "a status could not be written as JSON");
                None
            }
        }
    }

    fn finish(&mut self, uid: &PodUid, runtime: Option<&PodRuntimeStatus>) {
        let patch = self.patch(uid, runtime);
        self.call(uid, Task::Finish { patch, known: runtime.is_some() });
    }

    /// Nothing of the pod is left anywhere.
    fn forget(&mut self, uid: &PodUid) {
        let Some(entry) = self.entries.remove(uid) else { return };
        if let Some(timer) = entry.timer {
            self.timers.try_remove(&timer);
        }
        self.config.table.remove(&entry.pod, uid);
        self.config.references.remove(&(self.config.index, uid.clone()));
        self.config.sources.forget(uid);
        self.addresses(|addresses, _| addresses.release(uid));
        if entry.holds.is_some() {
            self.room_was_made();
        }
    }

    /// A pod that has ended holds nothing any more, although its logs stay until it is deleted.
    fn release_when_ended(&mut self, uid: &PodUid) {
        let ended = |phase: Option<&str>| status::is_terminal(phase);
        let Some(entry) = self.entries.get_mut(uid) else { return };
        if ended(entry.status.phase.as_deref()) && entry.holds.take().is_some() {
            self.room_was_made();
        }
    }

    /// Pods that wait for resources or for an address may have them now.
    fn room_was_made(&mut self) {
        let waiting = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.resize_pending.is_some() || entry.no_address.is_some())
            .map(|(uid, _)| uid.clone())
            .collect::<Vec<_>>();
        for uid in waiting {
            if let Some(entry) = self.entries.get_mut(&uid) {
                entry.given = None;
            }
            self.look_again(&uid, std::time::Duration::ZERO);
        }
    }

    /// Gives a pod up that has run for longer than it may. `true` when that was so.
    fn deadline_over(&mut self, uid: &PodUid) -> bool {
        let Some(entry) = self.entries.get_mut(uid) else { return false };
        if entry.failure.is_some() || status::is_terminal(entry.status.phase.as_deref()) {
            return false;
        }
        match entry.deadline(Self::now()) {
            None => false,
            Some(left) if !left.is_zero() => {
                if entry.timer.is_none() {
                    self.look_again(uid, left);
                }
                false
            }
            Some(_) => {
                let message = "Pod was active on the node longer than the specified deadline".to_owned();
                entry.failure =
                    Some(Failure { reason: "DeadlineExceeded".to_owned(), message: message.clone() });
                let pod = Arc::clone(&entry.pod);
                self.config.recorder.pod(
                    &self.config.name,
                    &pod,
                    EventKind::Normal,
                    "DeadlineExceeded",
                    message,
                );
                self.advance(uid);
                true
            }
        }
    }
}
