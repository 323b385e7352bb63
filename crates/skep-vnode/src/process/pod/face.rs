//! What the rest of the backend sees of a pod: a letter box, a snapshot, and its running containers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Pod;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Identity;
use super::cell::{Cell, Running};
use crate::backend::{PodContext, PodRuntimeStatus};

/// What a worker has been asked for and has not looked at yet. Later requests replace earlier ones, so it cannot grow.
#[derive(Default)]
pub(super) struct Mail {
    pub desired: Option<(Arc<Pod>, PodContext)>,
    /// Stop by then.
    pub stop: Option<Instant>,
    /// Stop by then, but only until the next run of the node.
    pub halt: Option<Instant>,
    /// Start nothing any more.
    pub hold: bool,
}

/// One container as logs, exec and stats need it.
#[derive(Clone)]
pub(in super::super) struct Seen {
    /// The present or last attempt; none when there was none.
    pub attempt: Option<u32>,
    /// When an attempt is under way.
    pub cell: Option<Arc<Cell>>,
    /// The attempt before.
    pub previous: Option<u32>,
}

/// A pod from outside.
pub(in super::super) struct Face {
    pub identity: Arc<Identity>,
    /// Wakes the worker: mail, or a cell that has changed.
    pub wake: Arc<Notify>,
    mail: Mutex<Mail>,
    status: watch::Sender<Arc<PodRuntimeStatus>>,
    containers: Mutex<BTreeMap<String, Seen>>,
    halted: watch::Sender<bool>,
    pod: Mutex<Arc<Pod>>,
}

impl Face {
    pub(super) fn new(identity: Arc<Identity>, pod: Arc<Pod>) -> Self {
        Self {
            identity,
            wake: Arc::new(Notify::new()),
            mail: Mutex::default(),
            status: watch::Sender::new(Arc::default()),
            containers: Mutex::default(),
            halted: watch::Sender::new(false),
            pod: Mutex::new(pod),
        }
    }

    pub(in super::super) fn sync(&self, pod: Arc<Pod>, context: PodContext) {
        lock(&self.mail).desired = Some((pod, context));
        self.wake.notify_one();
    }

    pub(in super::super) fn stop(&self, deadline: Instant) {
        let mut mail = lock(&self.mail);
        mail.stop = Some(mail.stop.map_or(deadline, |d| d.min(deadline)));
        self.wake.notify_one();
    }

    /// What runs goes on; nothing is started any more.
    pub(in super::super) fn hold(&self) {
        lock(&self.mail).hold = true;
        self.wake.notify_one();
    }

    pub(in super::super) fn halt(&self, deadline: Instant) {
        lock(&self.mail).halt = Some(deadline);
        self.wake.notify_one();
    }

    /// Waits until [`Face::halt`] is done.
    pub(in super::super) async fn halted(&self) {
        let _ = self.halted.subscribe().wait_for(|halted| *halted).await;
    }

    /// The pod as the worker took it over last.
    pub(in super::super) fn pod(&self) -> Arc<Pod> {
        lock(&self.pod).clone()
    }

    pub(in super::super) fn status(&self) -> Arc<PodRuntimeStatus> {
        self.status.borrow().clone()
    }

    pub(in super::super) fn seen(&self, container: &str) -> Option<Seen> {
        lock(&self.containers).get(container).cloned()
    }

    /// Its running containers by name.
    pub(in super::super) fn running(&self) -> Vec<(String, Running)> {
        let containers = lock(&self.containers);
        let running =
            containers.iter().filter_map(|(name, seen)| Some((name.clone(), seen.cell.as_ref()?.running()?)));
        running.collect()
    }

    pub(super) fn set_pod(&self, pod: Arc<Pod>) {
        *lock(&self.pod) = pod;
    }

    pub(super) fn take_mail(&self) -> Mail {
        std::mem::take(&mut lock(&self.mail))
    }

    /// Publishes; returns whether anything is different from before.
    pub(super) fn publish(&self, status: PodRuntimeStatus, containers: BTreeMap<String, Seen>) -> bool {
        *lock(&self.containers) = containers;
        self.status.send_if_modified(|old| {
            let changed = **old != status;
            if changed {
                *old = Arc::new(status);
            }
            changed
        })
    }

    pub(super) fn announce_halted(&self) {
        self.halted.send_replace(true);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
