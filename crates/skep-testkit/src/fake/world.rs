//! The state of the fake: objects, versions, the log that watches read.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    kinds::{self, Kind},
    reflex::Reflex,
    select::Selection,
    ssa::{self, Manager},
};

/// Changes kept for watches; one that asks for older ones is told `410 Gone`.
const LOG: usize = 4096;

/// Where an object is stored.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Slot {
    /// Qualified plural: `pods`, `clusters.skep.dev`.
    pub(crate) resource: String,
    /// Empty for cluster-scoped kinds.
    pub(crate) namespace: String,
    pub(crate) name: String,
}

#[derive(Clone, Debug)]
pub(crate) struct Stored {
    /// As it is sent, `managedFields` included.
    pub(crate) value: Value,
    pub(crate) managers: Vec<Manager>,
}

/// One change, for watches.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) version: u64,
    pub(crate) slot: Slot,
    pub(crate) before: Option<Arc<Stored>>,
    pub(crate) after: Option<Arc<Stored>>,
}

pub(crate) struct World {
    pub(crate) version: u64,
    uids: u64,
    kinds: Vec<Arc<Kind>>,
    objects: BTreeMap<Slot, Arc<Stored>>,
    log: VecDeque<Entry>,
    /// The oldest version a watch may start from.
    oldest: u64,
    pub(crate) collect_garbage: bool,
    pub(crate) reflexes: Vec<Reflex>,
}

impl World {
    pub(crate) fn new() -> Self {
        let mut world = Self {
            version: 1,
            uids: 0,
            kinds: kinds::built_in().into_iter().map(Arc::new).collect(),
            objects: BTreeMap::new(),
            log: VecDeque::new(),
            oldest: 1,
            collect_garbage: true,
            reflexes: Vec::new(),
        };
        for namespace in ["default", "kube-system", "kube-public", "kube-node-lease"] {
            world.plant_namespace(namespace);
        }
        world
    }

    fn plant_namespace(&mut self, name: &str) {
        let Some(kind) = self.kind("namespaces") else { return };
        let mut value = json!({
            "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": { "kubernetes.io/metadata.name": name } },
            "spec": { "finalizers": ["kubernetes"] }, "status": { "phase": "Active" },
        });
        self.identify(&mut value);
        self.put(&kind, value, Vec::new(), None);
    }

    pub(crate) fn now() -> String {
        Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
    }

    /// A uid never given before, and the time.
    pub(crate) fn identify(&mut self, value: &mut Value) {
        self.uids += 1;
        value["metadata"]["uid"] = json!(format!("5ce90000-0000-4000-8000-{:012x}", self.uids));
        value["metadata"]["creationTimestamp"] = json!(Self::now());
    }

    pub(crate) fn next_suffix(&mut self) -> String {
        self.uids += 1;
        format!("{:05x}", self.uids)
    }

    pub(crate) fn kind(&self, qualified: &str) -> Option<Arc<Kind>> {
        self.kinds.iter().find(|kind| kind.qualified() == qualified).cloned()
    }

    pub(crate) fn kind_at(&self, group: &str, version: &str, plural: &str) -> Option<Arc<Kind>> {
        let found =
            |kind: &&Arc<Kind>| kind.group == group && kind.version == version && kind.plural == plural;
        self.kinds.iter().find(found).cloned()
    }

    pub(crate) fn kind_of(&self, value: &Value) -> Option<Arc<Kind>> {
        let api_version = value["apiVersion"].as_str()?;
        let found =
            |kind: &&Arc<Kind>| kind.api_version() == api_version && value["kind"] == kind.kind.as_str();
        self.kinds.iter().find(found).cloned()
    }

    /// Serves the kinds of a CRD.
    pub(crate) fn serve_crd(&mut self, crd: &Value) {
        for kind in kinds::of_crd(crd) {
            self.kinds.retain(|known| known.qualified() != kind.qualified() || known.version != kind.version);
            self.kinds.push(Arc::new(kind));
        }
    }

    pub(crate) fn get(&self, slot: &Slot) -> Option<Arc<Stored>> {
        self.objects.get(slot).cloned()
    }

    pub(crate) fn find(&self, kind: &Kind, slot: &Slot) -> Result<Arc<Stored>, Failure> {
        self.get(slot).ok_or_else(|| Failure::not_found(kind, &slot.name))
    }

    /// Objects of a resource in a namespace (empty: in all).
    pub(crate) fn list(
        &self,
        resource: &str,
        namespace: &str,
        selection: &Selection,
    ) -> Vec<(Slot, Arc<Stored>)> {
        let wanted =
            |slot: &Slot| slot.resource == resource && (namespace.is_empty() || slot.namespace == namespace);
        let objects =
            self.objects.iter().filter(|(slot, stored)| wanted(slot) && selection.matches(&stored.value));
        objects.map(|(slot, stored)| (slot.clone(), Arc::clone(stored))).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&Slot, &Arc<Stored>)> {
        self.objects.iter()
    }

    pub(crate) fn slot_of(kind: &Kind, value: &Value) -> Slot {
        let text = |field: &str| value["metadata"][field].as_str().unwrap_or_default().to_owned();
        Slot { resource: kind.qualified(), namespace: text("namespace"), name: text("name") }
    }

    /// Stores an object under the next version and tells the watches.
    pub(crate) fn put(
        &mut self,
        kind: &Kind,
        mut value: Value,
        managers: Vec<Manager>,
        before: Option<Arc<Stored>>,
    ) -> Arc<Stored> {
        self.version += 1;
        value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        value["metadata"]["managedFields"] = ssa::render(kind, &managers);
        if managers.is_empty() {
            super::write::remove(&mut value["metadata"], "managedFields");
        }
        let slot = Self::slot_of(kind, &value);
        let stored = Arc::new(Stored { value, managers });
        self.objects.insert(slot.clone(), Arc::clone(&stored));
        self.record(Entry { version: self.version, slot, before, after: Some(Arc::clone(&stored)) });
        stored
    }

    /// Removes an object and tells the watches.
    pub(crate) fn drop_object(&mut self, slot: &Slot) -> Option<Arc<Stored>> {
        let before = self.objects.remove(slot)?;
        self.version += 1;
        // A deletion is an event with the version of the deletion.
        let mut last = (*before).clone();
        last.value["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let last = Arc::new(last);
        let entry =
            Entry { version: self.version, slot: slot.clone(), before: Some(Arc::clone(&last)), after: None };
        self.record(entry);
        Some(last)
    }

    fn record(&mut self, entry: Entry) {
        self.log.push_back(entry);
        if self.log.len() > LOG
            && let Some(dropped) = self.log.pop_front()
        {
            self.oldest = dropped.version;
        }
    }

    /// Changes after a version; `None` if they are not all kept.
    pub(crate) fn since(&self, version: u64) -> Option<Vec<Entry>> {
        let kept = version >= self.oldest && version <= self.version;
        kept.then(|| self.log.iter().filter(|entry| entry.version > version).cloned().collect())
    }

    /// Forgets the log, as a compaction would: every later resume gets `410 Gone`.
    pub(crate) fn compact(&mut self) {
        self.log.clear();
        self.version += 1;
        self.oldest = self.version;
    }
}
