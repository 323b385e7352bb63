//! Taking over a pod as it is now, at the beginning and whenever it has changed; and what an earlier run left.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, ResourceRequirements};
use tokio::time::Instant;

use super::{Done, Worker};
use crate::backend::{PodContext, ResizeState};
use crate::process::handle::Process;
use crate::process::marker;
use crate::process::pod::attempt::Finished;
use crate::process::pod::backoff::Backoff;
use crate::process::pod::cell::{Cause, Order};
use crate::process::pod::record::{self, AttemptRecord, FORMAT, PodRecord};
use crate::process::pod::slot::Now;

impl Worker {
    /// The node half says how the pod is now.
    pub(super) async fn take_over(&mut self, pod: Arc<Pod>, context: PodContext) {
        let first = self.context.is_none();
        if first {
            self.pod_ip = context.pod_ip;
        }
        self.context = Some(context);
        self.tending.refresh();
        for slot in &mut self.slots {
            // An object it waited for may be there now. Back-off after a crash goes on.
            if let Some(waiting) = slot.waiting.as_mut().filter(|w| w.refused) {
                waiting.retry_at = None;
            }
        }
        // Kept when nothing that matters has changed: attempts hold it too, and pods are not small.
        if first || !same(&self.pod, &pod) {
            self.face.set_pod(pod.clone());
            self.pod = pod;
            self.save_pod().await;
        }
        self.apply_images();
        self.apply_resources();
    }

    pub(super) async fn save_pod(&self) {
        let record = PodRecord {
            format: FORMAT,
            pod: essence(&self.pod),
            pod_ip: self.pod_ip,
            sandbox: self.sandbox.clone(),
        };
        let identity = self.identity.clone();
        let saved = self.identity.work.run(move || record::save(&identity.layout.pod(), &record)).await;
        if let Err(error) = saved {
            tracing::error!(pod = self.identity.short_name(), %error, "cannot write the record of a pod");
        }
    }

    /// A container whose image has changed is another container: it is stopped and started again.
    fn apply_images(&mut self) {
        for slot in &mut self.slots {
            let Some(container) = slot.place.of(&self.pod) else { continue };
            let image = container.image.as_deref().unwrap_or_default();
            if let Now::Busy { order, .. } = &slot.now
                && slot.image != image
            {
                slot.forced = true;
                replace(order, &self.pod);
            }
        }
    }

    /// In place where that is possible, by a restart where the container wants it so.
    pub(super) fn apply_resources(&mut self) {
        let mut state = ResizeState::Done;
        for slot in &mut self.slots {
            let Some(container) = slot.place.of(&self.pod) else { continue };
            let Now::Busy { cell, order, .. } = &slot.now else { continue };
            let wanted = container.resources.as_ref();
            if same_resources(slot.resources.as_ref(), wanted) {
                continue;
            }
            let Some(running) = cell.running() else {
                state = ResizeState::InProgress;
                continue;
            };
            if needs_restart(container, slot.resources.as_ref()) {
                slot.forced = true;
                replace(order, &self.pod);
                state = ResizeState::InProgress;
                continue;
            }
            let set = running.beside.cgroup.as_ref().map_or(Ok(()), |cgroup| cgroup.set(wanted));
            match set {
                Ok(()) => slot.resources = wanted.cloned(),
                Err(error) => state = ResizeState::Failed(format!("container {}: {error}", slot.name)),
            }
        }
        self.resize = state;
    }

    /// Takes over what an earlier run of the node left of this pod. Returns how many containers run.
    pub(in super::super::super) fn recover(&mut self) -> std::io::Result<usize> {
        let mut running = 0;
        for position in 0..self.slots.len() {
            let Some(name) = self.slots.get(position).map(|s| s.name.clone()) else { continue };
            let mut records = record::attempts(&self.identity.layout, &name)?.into_iter();
            let Some(newest) = records.next() else { continue };
            let before = records.next().and_then(|r| r.end);
            running += usize::from(self.recover_container(position, newest, before)?);
        }
        Ok(running)
    }

    fn recover_container(
        &mut self,
        position: usize,
        record: AttemptRecord,
        before: Option<record::Ended>,
    ) -> std::io::Result<bool> {
        let process = match (&record.end, &record.process) {
            (Some(_), _) => None,
            (None, Some(id)) => Process::adopt(id)?,
            // Killed between starting it and writing down its number: the marker knows.
            (None, None) => self.find_main(&record)?,
        };
        let Some(slot) = self.slots.get_mut(position) else { return Ok(false) };
        slot.attempts = record.attempt.saturating_add(1);
        slot.backoff = record.backoff;
        slot.image = record.image.clone();
        slot.resources = record.resources.clone();
        slot.last = before;
        let Some(process) = process else {
            self.recover_ended(position, record);
            return Ok(false);
        };
        let Some(slot) = self.slots.get(position) else { return Ok(false) };
        let (attempt, order) = self.attempt(slot, record.attempt);
        let cell = attempt.cell.clone();
        let resume = async move { Done::Container(position, attempt.resume(record, process).await) };
        let job = self.jobs.spawn(resume).id();
        if let Some(slot) = self.slots.get_mut(position) {
            slot.now = Now::Busy { cell, order, job };
        }
        Ok(true)
    }

    /// It has ended, whether or not somebody saw it. What it printed last is stored in any case.
    fn recover_ended(&mut self, position: usize, mut record: AttemptRecord) {
        let lost = record.end.is_none();
        let ended = record.end.clone().unwrap_or_else(|| record.lost());
        if !lost {
            if let Some(slot) = self.slots.get_mut(position) {
                slot.now = Now::Ended(ended);
            }
            return;
        }
        if let Some(slot) = self.slots.get_mut(position) {
            // Nobody saw it crash: what ended the node may have ended it too. The kubelet forgets every back-off when it
            // is restarted.
            slot.backoff = Backoff::default();
        }
        let Some(slot) = self.slots.get(position) else { return };
        let (attempt, order) = self.attempt(slot, record.attempt);
        let cell = attempt.cell.clone();
        record.end = Some(ended);
        let bury = async move { Done::Container(position, Finished::Ended(attempt.bury(record).await)) };
        let job = self.jobs.spawn(bury).id();
        if let Some(slot) = self.slots.get_mut(position) {
            slot.now = Now::Busy { cell, order, job };
        }
    }

    fn find_main(&self, record: &AttemptRecord) -> std::io::Result<Option<Process>> {
        let marker = self.identity.marker.join(&record.container).join(&record.attempt.to_string());
        // The oldest that leads a session is the one we started; what it started is younger.
        match marker::find(&marker)?.into_iter().find(|f| f.leader && !f.helper) {
            Some(found) => Process::adopt(&found.id),
            None => Ok(None),
        }
    }
}

fn same(one: &Arc<Pod>, other: &Arc<Pod>) -> bool {
    let (a, b) = (&one.metadata, &other.metadata);
    Arc::ptr_eq(one, other)
        || (a.labels == b.labels
            && a.annotations == b.annotations
            && a.generation == b.generation
            && a.deletion_timestamp == b.deletion_timestamp
            && one.spec == other.spec)
}

/// What of a pod is worth keeping on disk: no status, no bookkeeping.
fn essence(pod: &Pod) -> Pod {
    let mut pod = pod.clone();
    pod.status = None;
    pod.metadata.managed_fields = None;
    pod.metadata.resource_version = None;
    pod
}

fn replace(order: &tokio::sync::watch::Sender<Option<Order>>, pod: &Pod) {
    let seconds = pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
    let grace = std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default());
    let new = Order { cause: Cause::Changed, deadline: Instant::now() + grace, turn: true };
    order.send_if_modified(|old| {
        let first = old.is_none();
        if first {
            *old = Some(new);
        }
        first
    });
}

fn same_resources(one: Option<&ResourceRequirements>, other: Option<&ResourceRequirements>) -> bool {
    let part = |r: Option<&ResourceRequirements>| {
        (
            r.and_then(|r| r.limits.clone()).unwrap_or_default(),
            r.and_then(|r| r.requests.clone()).unwrap_or_default(),
        )
    };
    part(one) == part(other)
}

/// Whether a resource that has changed is one the container wants to be restarted for.
fn needs_restart(container: &Container, old: Option<&ResourceRequirements>) -> bool {
    container.resize_policy.iter().flatten().filter(|p| p.restart_policy == "RestartContainer").any(
        |policy| {
            let name = &policy.resource_name;
            let of = |r: Option<&ResourceRequirements>| {
                let get =
                    |list: Option<&std::collections::BTreeMap<_, _>>| list.and_then(|l| l.get(name)).cloned();
                (get(r.and_then(|r| r.limits.as_ref())), get(r.and_then(|r| r.requests.as_ref())))
            };
            of(container.resources.as_ref()) != of(old)
        },
    )
}
