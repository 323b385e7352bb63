//! Events on objects, for people who run `kubectl describe`.
//!
//! Publishing never blocks and never fails a reconcile: events go through a
//! bounded queue to one task. Equal events become one with a count, and a
//! series is written at most every [`QUIET`]; what does not fit is dropped and
//! counted.

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::ObjectReference;
use kube::{Client, Resource};
use tokio::sync::mpsc;

use crate::Metrics;

mod publish;
mod series;

/// Events waiting to be written at most.
const QUEUE: usize = 256;
/// Pause between two writes of the same series.
pub const QUIET: Duration = Duration::from_secs(60);

/// How serious an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Something took place.
    Normal,
    /// Somebody may have to look.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "Normal",
            Self::Warning => "Warning",
        }
    }
}

#[derive(Clone, Debug)]
struct Note {
    severity: Severity,
    reason: &'static str,
    action: &'static str,
    message: String,
    about: ObjectReference,
}

/// Publishes events in the name of one controller. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Recorder {
    queue: mpsc::Sender<Note>,
    metrics: Option<Arc<Metrics>>,
}

impl Recorder {
    /// A recorder for `controller` (`skep-operator`); `instance` is the pod or host.
    ///
    /// Starts one task, which ends when the last clone of the recorder is dropped
    /// and what was queued is written. Must be called inside a Tokio runtime.
    pub fn new(client: Client, controller: &str, instance: &str) -> Self {
        let (queue, notes) = mpsc::channel(QUEUE);
        tokio::spawn(publish::run(client, controller.to_owned(), instance.to_owned(), notes));
        Self { queue, metrics: None }
    }

    /// Counts dropped events.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = Some(Arc::new(metrics.clone()));
        self
    }

    /// Publishes an event about `object`.
    ///
    /// `reason` is from a closed set in PascalCase (an error's `reason()`), `action` says what was
    /// being done (`Reconcile`), `message` is for people; nothing secret.
    pub fn publish<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        message: impl Into<String>,
    ) {
        self.publish_about(object.object_ref(&()), severity, reason, action, message);
    }

    /// As [`Recorder::publish`] for an object of which only a reference is known.
    pub fn publish_about(
        &self,
        about: ObjectReference,
        severity: Severity,
        reason: &'static str,
        action: &'static str,
        message: impl Into<String>,
    ) {
        // The version would make every event of a changing object a new one.
        let about = ObjectReference { resource_version: None, ..about };
        let note = Note { severity, reason, action, message: message.into(), about };
        if self.queue.try_send(note).is_err()
            && let Some(metrics) = &self.metrics
        {
            metrics.event_dropped();
        }
    }
}
