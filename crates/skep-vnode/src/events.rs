//! Events people read in `kubectl describe`, written as a kubelet writes them: `core/v1`, a repeated event counts up.
//!
//! Never blocks and never grows: a full queue, a flood from one object or an API server that is away costs events,
//! nothing else.

mod correlate;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Event, EventSource, ObjectReference, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use tokio::sync::mpsc;

pub use correlate::Key;
use correlate::{Correlator, Verdict};

use crate::backend::{EventKind, PodEvent};

/// Events that wait to be written.
const QUEUE: usize = 512;
/// One write.
const DEADLINE: Duration = Duration::from_secs(10);
/// Component that events come from.
const COMPONENT: &str = "skep-vnode";
/// Longest message the API server takes (`pkg/apis/core/validation/events.go`: 1 KiB).
const LONGEST: usize = 1024;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Record {
    /// The object it happened to.
    pub regarding: ObjectReference,
    /// Good or bad.
    pub kind: EventKind,
    /// CamelCase reason.
    pub reason: String,
    /// For people; holds no secret.
    pub message: String,
    /// The node it happened on.
    pub host: Arc<str>,
}

/// Takes events; cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Record>,
    lost: Arc<AtomicU64>,
}

impl Recorder {
    /// A recorder and the work behind it, which ends when the last recorder is dropped.
    pub fn new(client: Client) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, records) = mpsc::channel(QUEUE);
        (Self { queue, lost: Arc::default() }, write(client, records))
    }

    /// Takes an event, or counts it as lost when the queue is full.
    pub fn record(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Events that were not written because the queue was full.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// An event about a pod as a whole.
    pub fn pod(&self, host: &Arc<str>, pod: &Pod, kind: EventKind, reason: &str, message: String) {
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: pod.metadata.namespace.clone(),
            name: pod.metadata.name.clone(),
            uid: pod.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.record(Record { regarding, kind, reason: reason.to_owned(), message, host: host.clone() });
    }

    /// An event a backend reports.
    pub fn backend(&self, host: &Arc<str>, event: PodEvent) {
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Pod".to_owned()),
            namespace: Some(event.namespace),
            name: Some(event.name),
            uid: Some(event.uid.to_string()),
            field_path: event.field_path,
            ..ObjectReference::default()
        };
        let (kind, reason, message) = (event.kind, event.reason.to_owned(), event.message);
        self.record(Record { regarding, kind, reason, message, host: host.clone() });
    }

    /// An event about a node; a kubelet puts the name where the uid belongs, and so `kubectl describe node` looks for it.
    pub fn node(&self, host: &Arc<str>, kind: EventKind, reason: &str, message: String) {
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: Some(host.to_string()),
            uid: Some(host.to_string()),
            ..ObjectReference::default()
        };
        self.record(Record { regarding, kind, reason: reason.to_owned(), message, host: host.clone() });
    }
}

async fn write(client: Client, mut records: mpsc::Receiver<Record>) {
    let mut correlator = Correlator::default();
    while let Some(record) = records.recv().await {
        let now = Timestamp::now();
        let namespace = record.regarding.namespace.clone().unwrap_or_else(|| "default".to_owned());
        let api = Api::<Event>::namespaced(client.clone(), &namespace);
        let key = Key::of(&record);
        let done = match correlator.judge(&key, now) {
            Verdict::Drop => continue,
            Verdict::First { name } => {
                let event = first(record, &name, &namespace, now);
                tokio::time::timeout(DEADLINE, api.create(&PostParams::default(), &event))
                    .await
                    .map(|done| done.map(drop))
            }
            Verdict::Again { name, count } => {
                let patch = Patch::Merge(json!({"count": count, "lastTimestamp": Time(now)}));
                let parameters = PatchParams::default();
                let call = api.patch_metadata(&name, &parameters, &patch);
                tokio::time::timeout(DEADLINE, call).await.map(|done| done.map(drop))
            }
        };
        if !matches!(done, Ok(Ok(()))) {
            // An event that was deleted meanwhile, or a namespace that is going away: start anew next time.
            correlator.forget(&key);
            tracing::debug!(?done, "an event was not written");
        }
    }
}

fn first(record: Record, name: &str, namespace: &str, now: Timestamp) -> Event {
    let mut message = record.message;
    if message.len() > LONGEST {
        let cut = (0..=LONGEST - 3).rev().find(|at| message.is_char_boundary(*at)).unwrap_or_default();
        message.truncate(cut);
        message.push_str("...");
    }
    let type_ = match record.kind {
        EventKind::Normal => "Normal",
        EventKind::Warning => "Warning",
    };
    Event {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(namespace.to_owned()),
            ..ObjectMeta::default()
        },
        involved_object: record.regarding,
        type_: Some(type_.to_owned()),
        reason: Some(record.reason),
        message: Some(message),
        count: Some(1),
        first_timestamp: Some(Time(now)),
        last_timestamp: Some(Time(now)),
        source: Some(EventSource {
            component: Some(COMPONENT.to_owned()),
            host: Some(record.host.to_string()),
        }),
        reporting_component: Some(COMPONENT.to_owned()),
        reporting_instance: Some(record.host.to_string()),
        ..Event::default()
    }
}
