//! The task that looks after one pod.
//!
//! It owns the pod's state and does one thing at a time: take what was asked for, hear what has happened, decide,
//! start or stop something, tell how it stands, wait. Everything that takes time happens in jobs beside it.

mod changes;
mod losing;
mod stopping;
mod tending;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::attempt::{Attempt, Finished};
use super::cell::Cell;
use super::face::{Face, Mail, Seen};
use super::plan::{self, Progress, View};
use super::report::Reporter;
use super::slot::{Now, Slot, Waiting};
use super::{Identity, Kind, Place, Site, status};
use crate::backend::{Eviction, PodContext, PodLifecycle, PodRuntimeStatus, ResizeState};
use crate::process::procfs;
use tending::{Tended, Tending};

/// What a job came back with.
enum Done {
    Container(usize, Finished),
    Tended(Tended),
}

/// Whether and how the pod is being stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    /// It is wanted.
    No,
    /// Stop, for ever or until the next run of the node.
    By { deadline: Instant, halt: bool },
    /// Nothing runs any more.
    Done { halt: bool },
}

/// See the module.
pub(in super::super) struct Worker {
    site: Arc<Site>,
    identity: Arc<Identity>,
    face: Arc<Face>,
    reporter: Reporter,
    pod: Arc<Pod>,
    pod_ip: IpAddr,
    /// None until the node half has given the pod since this run of the node began.
    context: Option<PodContext>,
    sandbox: String,
    /// Nothing of it was there before this run of the node.
    new: bool,
    slots: Vec<Slot>,
    jobs: JoinSet<Done>,
    tending: Tending,
    stop: Stop,
    /// The node is being halted and this pod's turn has not come yet.
    hold: bool,
    progress: Progress,
    eviction: Option<Eviction>,
    resize: ResizeState,
}

impl Worker {
    /// A worker for a pod that has run nothing in this life of the node.
    pub(in super::super) fn new(
        site: Arc<Site>,
        identity: Identity,
        pod: Arc<Pod>,
        pod_ip: IpAddr,
        sandbox: Option<String>,
        new: bool,
    ) -> Self {
        let identity = Arc::new(identity);
        let reporter = Reporter::new(site.hub.clone(), identity.clone());
        let mut slots: Vec<_> = Place::all(&pod)
            .into_iter()
            .filter_map(|place| Some(Slot::new(place, place.of(&pod)?.name.clone())))
            .collect();
        // Kept as long as the pod, and the room for four that the iterator begins with is kilobytes.
        slots.shrink_to_fit();
        Self {
            face: Arc::new(Face::new(identity.clone(), pod.clone())),
            slots,
            sandbox: sandbox.unwrap_or_else(|| sandbox_of_this_boot(0)),
            site,
            identity,
            reporter,
            pod,
            pod_ip,
            context: None,
            new,
            jobs: JoinSet::new(),
            tending: Tending::default(),
            stop: Stop::No,
            hold: false,
            progress: Progress::Initializing,
            eviction: None,
            resize: ResizeState::Done,
        }
    }

    /// Its outside.
    pub(in super::super) fn face(&self) -> Arc<Face> {
        self.face.clone()
    }

    /// Looks after the pod until it is dropped.
    pub(in super::super) async fn run(mut self) {
        loop {
            let mail = self.face.take_mail();
            // Boxed: this task sleeps nearly always, and should not hold the room for these meanwhile.
            Box::pin(self.read(mail)).await;
            Box::pin(self.advance()).await;
            self.publish();
            let face = self.face.clone();
            let alarm = self.alarm();
            tokio::select! {
                () = face.wake.notified() => {}
                Some(done) = self.jobs.join_next() => match done {
                    Ok(done) => self.hear(done),
                    Err(error) => Box::pin(self.lost(&error)).await,
                },
                () = sleep_until(alarm) => {}
            }
        }
    }

    async fn read(&mut self, mail: Mail) {
        self.hold |= mail.hold;
        if let Some((pod, context)) = mail.desired {
            self.take_over(pod, context).await;
        }
        for (deadline, halt) in [(mail.stop, false), (mail.halt, true)] {
            let Some(deadline) = deadline else { continue };
            if halt && self.stop == Stop::No {
                self.leave_sandbox().await;
            }
            self.stop = match self.stop {
                Stop::No => Stop::By { deadline, halt },
                // Only ever sooner, and a stop for ever stays one.
                Stop::By { deadline: old, halt: was } => {
                    Stop::By { deadline: old.min(deadline), halt: was && halt }
                }
                Stop::Done { halt: was } => {
                    self.face.announce_halted();
                    Stop::Done { halt: was && halt }
                }
            };
        }
    }

    fn hear(&mut self, done: Done) {
        let (now, timings) = (Timestamp::now(), self.site.config.timings);
        match done {
            Done::Tended(tended) => self.tended(tended),
            Done::Container(position, finished) => {
                let Some(slot) = self.slots.get_mut(position) else { return };
                match finished {
                    Finished::Ended(ended) => {
                        slot.now = Now::Ended(ended);
                        slot.waiting = None;
                        slot.image_backoff = Default::default();
                    }
                    Finished::NotCreated(refusal) => {
                        slot.attempts = slot.attempts.saturating_sub(1);
                        slot.refused(refusal, now, &timings);
                    }
                    Finished::Withdrawn => {
                        slot.attempts = slot.attempts.saturating_sub(1);
                        slot.now = slot.last.take().map_or(Now::Idle, Now::Ended);
                    }
                }
            }
        }
    }

    /// Brings the pod a step further.
    async fn advance(&mut self) {
        if self.stop != Stop::No {
            return self.advance_stop().await;
        }
        let Some(context) = self.context.clone() else { return };
        if self.hold || self.pod.metadata.deletion_timestamp.is_some() || !self.tend(&context) {
            return;
        }
        if self.resize == ResizeState::InProgress {
            self.apply_resources();
        }
        let Some(spec) = &self.pod.spec else { return };
        let views = self.slots.iter().filter_map(|slot| {
            Some(View {
                container: slot.place.of(&self.pod)?,
                kind: slot.place.kind,
                standing: slot.standing(&self.sandbox),
            })
        });
        let plan = plan::plan(spec, &views.collect::<Vec<_>>());
        self.progress = plan.progress;
        if plan.progress == Progress::Over {
            return self.wind_down();
        }
        let (now, timings, long_name) =
            (Timestamp::now(), self.site.config.timings, self.identity.long_name());
        for position in plan.start {
            let sandbox = self.sandbox.clone();
            let Some(slot) = self.slots.get_mut(position) else { continue };
            let waited = slot.waiting.is_some();
            if slot.may_start(&sandbox, &long_name, now, &timings) {
                self.start(position, &context);
            } else if !waited {
                let text = format!("Back-off restarting failed container {} in pod {long_name}", slot.name);
                self.reporter.container(slot.place, &slot.name).warning("BackOff", text);
            }
        }
    }

    fn start(&mut self, position: usize, context: &PodContext) {
        let Some(slot) = self.slots.get(position) else { return };
        let Some(container) = slot.place.of(&self.pod) else { return };
        let (image, resources) = (container.image.clone().unwrap_or_default(), container.resources.clone());
        let (attempt, order) = self.attempt(slot, slot.attempts);
        let (cell, context) = (attempt.cell.clone(), context.clone());
        let run = async move { Done::Container(position, attempt.run(context).await) };
        let job = self.jobs.spawn(run).id();
        let Some(slot) = self.slots.get_mut(position) else { return };
        if let Now::Ended(ended) = std::mem::replace(&mut slot.now, Now::Busy { cell, order, job }) {
            slot.last = Some(ended);
        }
        slot.attempts += 1;
        slot.waiting = None;
        slot.forced = false;
        slot.image = image;
        slot.resources = resources;
    }

    fn attempt(&self, slot: &Slot, number: u32) -> (Attempt, watch::Sender<Option<super::cell::Order>>) {
        let (order, receiver) = watch::channel(None);
        let attempt = Attempt {
            site: self.site.clone(),
            identity: self.identity.clone(),
            reporter: self.reporter.container(slot.place, &slot.name),
            pod: self.pod.clone(),
            place: slot.place,
            pod_ip: self.pod_ip,
            cell: Arc::new(Cell::new(number, self.face.wake.clone())),
            order: receiver,
            sandbox: self.sandbox.clone(),
            backoff: slot.backoff,
            sweep_first: !self.new || number > 0,
        };
        (attempt, order)
    }

    /// Tells how the pod stands.
    pub(in super::super) fn publish(&self) {
        // A halted pod is only asleep: nobody is to think that it has ended.
        if self.hold
            && matches!(self.stop, Stop::No | Stop::By { halt: true, .. } | Stop::Done { halt: true })
        {
            return;
        }
        let now = Timestamp::now();
        let has_init = self.slots.iter().any(|s| s.place.kind != Kind::Main);
        let default = if has_init { "PodInitializing" } else { "ContainerCreating" };
        let of = |init: bool| {
            let slots = self.slots.iter().filter(move |s| (s.place.kind != Kind::Main) == init);
            let one = |slot: &Slot| {
                Some(status::of(slot, slot.place.of(&self.pod)?, &self.identity.uid, default, now))
            };
            let mut statuses: Vec<_> = slots.filter_map(one).collect();
            // As the slots: a status has 752 bytes.
            statuses.shrink_to_fit();
            statuses
        };
        let begun = self.slots.iter().any(|s| !matches!(s.now, Now::Idle));
        let lifecycle = match self.stop {
            Stop::Done { .. } => PodLifecycle::Stopped,
            Stop::By { .. } => PodLifecycle::Stopping,
            Stop::No if begun => PodLifecycle::Running,
            Stop::No => PodLifecycle::Preparing,
        };
        let status = PodRuntimeStatus {
            observed_generation: self.pod.metadata.generation,
            lifecycle,
            volumes_ready: self.tending.is_ready() || begun,
            init_container_statuses: of(true),
            container_statuses: of(false),
            eviction: self.eviction.clone(),
            resize: self.resize.clone(),
        };
        if self.face.publish(status, self.seen()) {
            self.site.hub.changed(&self.identity.uid);
        }
    }

    fn seen(&self) -> BTreeMap<String, Seen> {
        let one = |slot: &Slot| {
            let (attempt, cell) = match &slot.now {
                Now::Idle => (None, None),
                Now::Busy { cell, .. } => (Some(cell.attempt), Some(cell.clone())),
                Now::Ended(ended) => (Some(ended.attempt), None),
            };
            // An attempt without a process has no log yet: the one before is still the present one.
            let created = cell.as_ref().is_none_or(|c| c.running().is_some());
            let last = slot.last.as_ref().map(|e| e.attempt);
            let (attempt, previous) = match (created, attempt) {
                (true, Some(attempt)) => (Some(attempt), last.filter(|l| *l != attempt)),
                _ => (last, last.and_then(|l| l.checked_sub(1))),
            };
            (slot.name.clone(), Seen { attempt, cell: cell.filter(|_| created), previous })
        };
        self.slots.iter().map(one).collect()
    }

    /// When to look again if nothing happens.
    fn alarm(&self) -> Option<Timestamp> {
        let now = Timestamp::now();
        if self.stop != Stop::No || self.hold {
            return None;
        }
        let waits = self.slots.iter().filter(|s| !s.is_busy()).filter_map(|s| s.waiting.as_ref());
        waits.filter_map(|w: &Waiting| w.next(now)).chain(self.tending.alarm()).min()
    }
}

async fn sleep_until(alarm: Option<Timestamp>) {
    match alarm {
        None => std::future::pending().await,
        Some(at) => {
            let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
            tokio::time::sleep(left).await;
        }
    }
}

/// Names the time between two restarts of the machine, or between two halts of the node.
pub(in super::super) fn sandbox_of_this_boot(halts: u64) -> String {
    format!("{}/{halts}", procfs::boot_id())
}
