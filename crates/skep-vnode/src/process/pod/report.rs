//! Telling people what happens to a pod, in the kubelet's words.

use std::sync::Arc;

use super::{Identity, Place};
use crate::backend::{EventHub, EventKind, PodEvent};

/// Sends the events of one pod, or of one container of it.
#[derive(Clone)]
pub(super) struct Reporter {
    hub: Arc<EventHub>,
    identity: Arc<Identity>,
    field_path: Option<String>,
}

impl Reporter {
    pub(super) fn new(hub: Arc<EventHub>, identity: Arc<Identity>) -> Self {
        Self { hub, identity, field_path: None }
    }

    /// About one container.
    pub(super) fn container(&self, place: Place, name: &str) -> Self {
        Self { field_path: Some(place.field_path(name)), ..self.clone() }
    }

    pub(super) fn normal(&self, reason: &'static str, message: impl Into<String>) {
        self.send(EventKind::Normal, reason, message.into());
    }

    pub(super) fn warning(&self, reason: &'static str, message: impl Into<String>) {
        self.send(EventKind::Warning, reason, message.into());
    }

    fn send(&self, kind: EventKind, reason: &'static str, message: String) {
        self.hub.event(PodEvent {
            uid: self.identity.uid.clone(),
            namespace: self.identity.namespace.clone(),
            name: self.identity.name.clone(),
            field_path: self.field_path.clone(),
            kind,
            reason,
            message,
        });
    }
}
