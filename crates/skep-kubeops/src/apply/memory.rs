//! What was applied, so that the same need not be applied again.
//!
//! A record alone proves nothing: it is only used together with what a watch
//! has seen of the object. A watch that lags shows an older version, which
//! costs one needless apply; it never hides a change for longer than the watch.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::Value;

use super::recent::Recent;
use crate::{Key, Object};

#[derive(Debug, Default)]
pub(super) struct Memory {
    records: Mutex<Recent<(u64, Key), Record>>,
    /// Uid and version of each object as our last status write left it.
    statuses: Mutex<Recent<(u64, Key), Written>>,
}

#[derive(Debug)]
struct Record {
    digest: u64,
    uid: Option<String>,
    generation: Option<i64>,
    version: Option<String>,
}

#[derive(Debug)]
struct Written {
    uid: Option<String>,
    version: u64,
}

/// A digest of a manifest. JSON maps are sorted, so equal manifests have equal digests.
pub(super) fn digest(manifest: &Value) -> u64 {
    let mut hasher = DefaultHasher::new();
    manifest.hash(&mut hasher);
    hasher.finish()
}

fn slot<K: Object>(object: &K) -> (u64, Key) {
    let mut hasher = DefaultHasher::new();
    K::group(&()).hash(&mut hasher);
    K::kind(&()).hash(&mut hasher);
    (hasher.finish(), Key::of(object))
}

/// Versions of one object are comparable numbers.
fn version<K: Object>(object: &K) -> Option<u64> {
    object.meta().resource_version.as_ref()?.parse().ok()
}

impl Memory {
    pub(super) fn remember<K: Object>(&self, desired: &K, digest: u64, applied: &K) {
        let meta = applied.meta();
        let record = Record {
            digest,
            uid: meta.uid.clone(),
            generation: meta.generation,
            version: meta.resource_version.clone(),
        };
        self.records.lock().unwrap_or_else(PoisonError::into_inner).insert(slot(desired), record);
    }

    pub(super) fn remember_status<K: Object>(&self, written: &K) {
        let Some(version) = version(written) else { return };
        let entry = Written { uid: written.meta().uid.clone(), version };
        self.statuses.lock().unwrap_or_else(PoisonError::into_inner).insert(slot(written), entry);
    }

    /// `true` if we wrote the status of this object after the version that is given.
    pub(super) fn wrote_status_after<K: Object>(&self, seen: &K) -> bool {
        let mut statuses = self.statuses.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(written) = statuses.get(slot(seen)) else { return false };
        written.uid == seen.meta().uid && version(seen).is_none_or(|version| version < written.version)
    }

    /// `true` if `desired` was applied and `observed` proves that it still stands.
    pub(super) fn is_current<K: Object>(&self, desired: &K, digest: u64, observed: &ObjectMeta) -> bool {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(record) = records.get(slot(desired)) else { return false };
        if record.digest != digest || record.uid != observed.uid || observed.deletion_timestamp.is_some() {
            return false;
        }
        if record.version == observed.resource_version {
            return true;
        }
        // Another version with the same generation: the spec stands, only status or metadata
        // moved. Kinds without a generation (Secret, ConfigMap) have no such shortcut.
        let spec_stands =
            record.generation.is_some_and(|g| g > 0) && record.generation == observed.generation;
        spec_stands && carries(observed, desired.meta())
    }
}

/// `true` if everything that `wanted` says about metadata is so in `observed`.
fn carries(observed: &ObjectMeta, wanted: &ObjectMeta) -> bool {
    fn within(part: Option<&BTreeMap<String, String>>, whole: Option<&BTreeMap<String, String>>) -> bool {
        part.into_iter().flatten().all(|(key, value)| whole.and_then(|map| map.get(key)) == Some(value))
    }
    let references = observed.owner_references.as_deref().unwrap_or_default();
    let finalizers = observed.finalizers.as_deref().unwrap_or_default();
    within(wanted.labels.as_ref(), observed.labels.as_ref())
        && within(wanted.annotations.as_ref(), observed.annotations.as_ref())
        && wanted.owner_references.iter().flatten().all(|reference| references.contains(reference))
        && wanted.finalizers.iter().flatten().all(|finalizer| finalizers.contains(finalizer))
}
