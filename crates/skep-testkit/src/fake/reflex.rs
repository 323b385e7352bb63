//! What other controllers of a cluster would do at once: scripted answers to writes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::world::World;

/// Given an object that was written, its status as some controller would set it (`None`: no change).
pub(crate) type Answer = Arc<dyn Fn(&Value) -> Option<Value> + Send + Sync>;

/// One scripted controller.
#[derive(Clone)]
pub(crate) struct Reflex {
    /// Qualified plural it watches: `deployments.apps`.
    pub(crate) resource: String,
    pub(crate) answer: Answer,
}

impl World {
    /// Lets the reflexes answer everything that was written after `version`, once.
    pub(crate) fn react(&mut self, version: u64) {
        if self.reflexes.is_empty() {
            return;
        }
        let mut slots: Vec<_> = self
            .since(version)
            .unwrap_or_default()
            .into_iter()
            .filter(|e| e.after.is_some())
            .map(|e| e.slot)
            .collect();
        slots.sort();
        slots.dedup();
        for slot in slots {
            for reflex in self.reflexes.clone() {
                let Some(live) = self.get(&slot).filter(|_| reflex.resource == slot.resource) else {
                    continue;
                };
                let Some(status) =
                    (reflex.answer)(&live.value).filter(|status| *status != live.value["status"])
                else {
                    continue;
                };
                let Some(kind) = self.kind(&slot.resource) else { continue };
                let mut value = live.value.clone();
                value["status"] = status;
                self.put(&kind, value, live.managers.clone(), Some(live));
            }
        }
    }
}

/// A Deployment or StatefulSet whose pods are all ready the moment it is written.
pub(crate) fn workload_ready(object: &Value) -> Option<Value> {
    let replicas = object["spec"]["replicas"].as_i64().unwrap_or(1);
    Some(json!({
        "observedGeneration": object["metadata"]["generation"],
        "replicas": replicas,
        "updatedReplicas": replicas,
        "readyReplicas": replicas,
        "availableReplicas": replicas,
        "currentReplicas": replicas,
        "currentRevision": "1",
        "updateRevision": "1",
        "conditions": [
            {"type": "Available", "status": "True", "reason": "MinimumReplicasAvailable", "message": ""},
            {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable", "message": ""},
        ],
    }))
}
