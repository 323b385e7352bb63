//! How a backend tells the node half that something happened.
//!
//! Two kinds of news. *Changed pods* are a set: a pod is in it once however often it changed, so it can neither grow
//! beyond the number of pods nor lose the last change. *Events* are for people (`kubectl describe`); they are bounded
//! and the oldest are dropped when nobody reads them.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::PodUid;

/// How many unread events are kept.
const KEPT: usize = 1024;

/// Whether an event is good news.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// As expected.
    Normal,
    /// Somebody should look.
    Warning,
}

/// Something people may want to read about a pod. Reasons are the kubelet's (`Started`, `Unhealthy`, `BackOff` …).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodEvent {
    /// The pod.
    pub uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The container as the event's `fieldPath` names it: `spec.containers{etcd}`; none for the pod as a whole.
    pub field_path: Option<String>,
    /// Good or bad.
    pub kind: EventKind,
    /// CamelCase reason.
    pub reason: &'static str,
    /// For people; holds no secret.
    pub message: String,
}

/// What happened since the last call of [`EventHub::next`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Pods whose status changed.
    pub changed: Vec<PodUid>,
    /// Events, oldest first.
    pub events: Vec<PodEvent>,
}

#[derive(Default)]
struct Pending {
    changed: BTreeSet<PodUid>,
    events: VecDeque<PodEvent>,
}

/// The meeting point: any number of writers, one reader.
#[derive(Default)]
pub struct EventHub {
    pending: Mutex<Pending>,
    wake: Notify,
    dropped: AtomicU64,
}

impl EventHub {
    /// An empty hub.
    pub fn new() -> Self {
        Self::default()
    }

    /// The status of this pod is not what it was.
    pub fn changed(&self, uid: &PodUid) {
        self.lock().changed.insert(uid.clone());
        self.wake.notify_one();
    }

    /// Something for people.
    pub fn event(&self, event: PodEvent) {
        {
            let mut pending = self.lock();
            if pending.events.len() >= KEPT {
                pending.events.pop_front();
                self.dropped.fetch_add(1, Ordering::Relaxed);
            }
            pending.events.push_back(event);
        }
        self.wake.notify_one();
    }

    /// Events lost because nobody read them.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Waits until there is news and takes all of it. Cancel safe.
    pub async fn next(&self) -> Batch {
        loop {
            let notified = self.wake.notified();
            {
                let mut pending = self.lock();
                if !pending.changed.is_empty() || !pending.events.is_empty() {
                    return Batch {
                        changed: std::mem::take(&mut pending.changed).into_iter().collect(),
                        events: pending.events.drain(..).collect(),
                    };
                }
            }
            notified.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(n: usize) -> PodEvent {
        PodEvent {
            uid: PodUid::parse("u").unwrap(),
            namespace: "ns".into(),
            name: "pod".into(),
            field_path: None,
            kind: EventKind::Normal,
            reason: "Started",
            message: n.to_string(),
        }
    }

    #[tokio::test]
    async fn changes_coalesce_and_events_are_bounded() {
        let hub = EventHub::new();
        let uid = PodUid::parse("u").unwrap();
        for n in 0..KEPT + 3 {
            hub.changed(&uid);
            hub.event(event(n));
        }
        let batch = hub.next().await;
        assert_eq!(batch.changed, [uid]);
        assert_eq!(batch.events.len(), KEPT);
        assert_eq!(batch.events[0].message, "3");
        assert_eq!(hub.dropped(), 3);
    }
}
