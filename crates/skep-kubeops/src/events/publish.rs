//! The task that writes events, one after the other.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::{
    api::events::v1::{Event, EventSeries},
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
};
use kube::{
    Api, Client,
    api::{Patch, PatchParams, PostParams},
};
use serde_json::json;
use tokio::{sync::mpsc, time::Instant};

use super::{
    Note,
    series::{Ledger, Write},
};

/// Longest note the API takes, in bytes (`k8s.io/kubernetes/pkg/apis/core/validation/events.go`).
const NOTE_LIMIT: usize = 1024;
/// An event is worth this much waiting, not more.
const PATIENCE: Duration = Duration::from_secs(10);

pub(super) async fn run(
    client: Client,
    controller: String,
    instance: String,
    mut notes: mpsc::Receiver<Note>,
) {
    let mut ledger = Ledger::default();
    while let Some(note) = notes.recv().await {
        let write = ledger.hear(&note, Instant::now());
        if write == Write::Later {
            continue;
        }
        // Events of cluster-scoped objects live in `default`, as kubectl expects.
        let namespace = note.about.namespace.as_deref().unwrap_or("default");
        let api: Api<Event> = Api::namespaced(client.clone(), namespace);
        let known = ledger.event(&note).map(str::to_owned);
        let written = match (write, known) {
            (Write::Again(count), Some(name)) => {
                let series = EventSeries { count, last_observed_time: MicroTime(Timestamp::now()) };
                let patch = Patch::Merge(json!({ "series": series }));
                tokio::time::timeout(PATIENCE, api.patch(&name, &PatchParams::default(), &patch)).await
            }
            _ => {
                let event = event(&note, &controller, &instance, Timestamp::now());
                tokio::time::timeout(PATIENCE, api.create(&PostParams::default(), &event)).await
            }
        };
        match written {
            Ok(Ok(event)) => ledger.stored(&note, event.metadata.name),
            Ok(Err(error)) => {
                tracing::debug!(reason = note.reason, error = %crate::error::describe(&error), "event not written");
                ledger.stored(&note, None);
            }
            Err(_) => ledger.stored(&note, None),
        }
    }
}

fn event(note: &Note, controller: &str, instance: &str, now: Timestamp) -> Event {
    let name = note.about.name.as_deref().unwrap_or(controller);
    Event {
        metadata: ObjectMeta {
            namespace: Some(note.about.namespace.clone().unwrap_or_else(|| "default".to_owned())),
            // The form client-go uses: readable, and unique enough without asking the server.
            name: Some(format!("{}.{:x}", shortened(name, 220), now.as_nanosecond())),
            ..ObjectMeta::default()
        },
        action: Some(note.action.to_owned()),
        reason: Some(note.reason.to_owned()),
        note: Some(shortened(&note.message, NOTE_LIMIT).to_owned()),
        type_: Some(note.severity.as_str().to_owned()),
        event_time: Some(MicroTime(now)),
        regarding: Some(note.about.clone()),
        reporting_controller: Some(controller.to_owned()),
        reporting_instance: Some(shortened(instance, 128).to_owned()),
        ..Event::default()
    }
}

fn shortened(text: &str, limit: usize) -> &str {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
