//! What a node keeps of a pod: the part that is acted upon.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::backend::{compact, compact_status};

/// Annotation in which `kubectl apply` keeps a second copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Splits a pod into what should run (shared with the backend, replaced only when it changes) and its status.
#[must_use]
pub fn split(mut pod: Pod) -> (Arc<Pod>, Arc<PodStatus>) {
    let mut status = pod.status.take().unwrap_or_default();
    pod.metadata.managed_fields = None;
    if let Some(annotations) = &mut pod.metadata.annotations {
        annotations.remove(LAST_APPLIED);
    }
    compact(&mut pod);
    compact_status(&mut status);
    (Arc::new(pod), Arc::new(status))
}

/// Whether a backend has to hear of the difference. Status and resource version are none.
#[must_use]
pub fn differs(old: &Pod, new: &Pod) -> bool {
    let (a, b) = (&old.metadata, &new.metadata);
    a.generation != b.generation
        || a.labels != b.labels
        || a.annotations != b.annotations
        || a.deletion_timestamp != b.deletion_timestamp
        || a.deletion_grace_period_seconds != b.deletion_grace_period_seconds
        // Servers that do not count a pod's generation (before 1.33) leave it empty.
        || (a.generation.is_none() && old.spec != new.spec)
}

/// Whether `seen` is older than `known`. Resource versions can be compared since 1.35 (KEP-5504); what is no number
/// is taken as it comes.
#[must_use]
pub fn is_older(seen: Option<&str>, known: Option<&str>) -> bool {
    let number = |version: Option<&str>| version.and_then(|version| version.parse::<u128>().ok());
    matches!((number(seen), number(known)), (Some(seen), Some(known)) if seen < known)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn copies_and_bookkeeping_are_dropped() {
        let pod = serde_json::from_value(json!({
            "metadata": {"name": "p", "annotations": {LAST_APPLIED: "{}", "a": "b"}, "managedFields": [{"manager": "m"}]},
            "status": {"phase": "Running"},
        }))
        .unwrap();
        let (pod, status) = split(pod);
        assert!(pod.status.is_none() && pod.metadata.managed_fields.is_none());
        assert_eq!(pod.metadata.annotations.as_ref().unwrap().len(), 1);
        assert_eq!(status.phase.as_deref(), Some("Running"));
    }

    #[test]
    fn only_what_matters_differs() {
        let pod = |value| serde_json::from_value::<Pod>(json!({"metadata": value})).unwrap();
        let old = pod(json!({"generation": 1, "resourceVersion": "5"}));
        assert!(!differs(&old, &pod(json!({"generation": 1, "resourceVersion": "6"}))));
        assert!(differs(&old, &pod(json!({"generation": 2}))));
        assert!(differs(&old, &pod(json!({"generation": 1, "labels": {"a": "b"}}))));
    }

    #[test]
    fn versions_are_numbers() {
        assert!(is_older(Some("9"), Some("10")));
        assert!(
            !is_older(Some("10"), Some("10"))
                && !is_older(Some("x"), Some("10"))
                && !is_older(None, Some("1"))
        );
    }
}
