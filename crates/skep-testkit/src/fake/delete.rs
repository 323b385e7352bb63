//! Deletion: finalizers, grace periods, namespaces, and the garbage collector.

use std::{collections::HashSet, sync::Arc};

use serde_json::{Value, json};

use super::{
    failure::Failure,
    kinds::Kind,
    select::Selection,
    world::{Slot, Stored, World},
};

/// What a deletion met.
pub(crate) enum Outcome {
    /// Removed; the object as it was last.
    Removed(Arc<Stored>),
    /// Marked; something still holds it.
    Marked(Arc<Stored>),
}

/// One step of the garbage collector or the namespace controller.
enum Chore {
    /// An emptied namespace goes.
    Drop,
    /// All owners of an object are gone, or wait for it to go.
    Delete,
    /// An owner that waited for its dependents need wait no more.
    Release,
    /// Some owners are gone but not all: they are forgotten.
    Disown(Vec<String>),
}

impl World {
    /// `DELETE` of one object with the given `DeleteOptions`.
    pub(crate) fn delete(&mut self, kind: &Kind, slot: &Slot, options: &Value) -> Result<Outcome, Failure> {
        let live = self.find(kind, slot)?;
        let meta = &live.value["metadata"];
        for field in ["uid", "resourceVersion"] {
            if let Some(wanted) = options["preconditions"][field].as_str()
                && meta[field] != wanted
            {
                let (label, likely) = if field == "uid" {
                    ("UID", "deleted and then recreated")
                } else {
                    ("ResourceVersion", "modified")
                };
                let actual = meta[field].as_str().unwrap_or_default();
                let why = format!(
                    "the {label} in the precondition ({wanted}) does not match the {label} in record ({actual}). The object might have been {likely}"
                );
                return Err(Failure::precondition(kind, &slot.name, &why));
            }
        }
        let mut value = live.value.clone();
        match options["propagationPolicy"].as_str() {
            Some("Orphan") => self.orphan_dependents(meta["uid"].as_str().unwrap_or_default()),
            Some("Foreground") => {
                // Dependents first; the marker goes when none is left.
                let mut finalizers = value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
                if !finalizers.iter().any(|name| name == "foregroundDeletion") {
                    finalizers.push(json!("foregroundDeletion"));
                }
                value["metadata"]["finalizers"] = Value::Array(finalizers);
            }
            _ => {}
        }
        let grace = self.grace(kind, &live.value, options);
        let held = has_finalizers(&value) || grace > 0 || kind.qualified() == "namespaces";
        if !held {
            let removed = self.drop_object(slot);
            self.settle_garbage();
            return Ok(Outcome::Removed(removed.unwrap_or(live)));
        }
        let first = meta["deletionTimestamp"].is_null();
        let changed = first || value != live.value;
        if !changed {
            return Ok(Outcome::Marked(live));
        }
        if first {
            value["metadata"]["deletionTimestamp"] = json!(Self::now());
            value["metadata"]["deletionGracePeriodSeconds"] = json!(grace);
            if let Some(generation) = value["metadata"]["generation"].as_i64() {
                value["metadata"]["generation"] = json!(generation + 1);
            }
        }
        if kind.qualified() == "namespaces" {
            value["status"]["phase"] = json!("Terminating");
        }
        let stored = self.put(kind, value, live.managers.clone(), Some(Arc::clone(&live)));
        if kind.qualified() == "namespaces" {
            self.empty_namespace(&slot.name);
        }
        self.settle_garbage();
        Ok(Outcome::Marked(stored))
    }

    /// Seconds a pod on a node is given to end; everything else goes at once.
    fn grace(&self, kind: &Kind, value: &Value, options: &Value) -> u64 {
        let on_node = value["spec"]["nodeName"].as_str().is_some_and(|node| !node.is_empty());
        if kind.qualified() != "pods" || !on_node {
            return 0;
        }
        let asked = options["gracePeriodSeconds"].as_u64();
        asked.or_else(|| value["spec"]["terminationGracePeriodSeconds"].as_u64()).unwrap_or(30)
    }

    /// After a write: an object that is being deleted goes when nothing holds it any more.
    pub(crate) fn finish_deletion(&mut self, kind: &Kind, stored: &Stored) {
        let meta = &stored.value["metadata"];
        let waiting = meta["deletionGracePeriodSeconds"].as_u64().unwrap_or(0) > 0;
        if meta["deletionTimestamp"].is_null() || has_finalizers(&stored.value) || waiting {
            return;
        }
        if kind.qualified() != "namespaces" {
            self.drop_object(&Self::slot_of(kind, &stored.value));
        }
    }

    fn empty_namespace(&mut self, namespace: &str) {
        let inside = self.all().filter(|(slot, _)| slot.namespace == namespace);
        let slots: Vec<Slot> = inside.map(|(slot, _)| slot.clone()).collect();
        for slot in slots {
            if let Some(kind) = self.kind(&slot.resource) {
                let _ = self.delete(&kind, &slot, &json!({"gracePeriodSeconds": 0}));
            }
        }
    }

    /// Runs what the garbage collector and the namespace controller would do until nothing changes.
    pub(crate) fn settle_garbage(&mut self) {
        if !self.collect_garbage {
            return;
        }
        while let Some((slot, chore)) = self.next_chore() {
            let (Some(kind), Some(live)) = (self.kind(&slot.resource), self.get(&slot)) else { return };
            match chore {
                Chore::Drop => {
                    self.drop_object(&slot);
                }
                Chore::Delete => {
                    if self.delete(&kind, &slot, &json!({"gracePeriodSeconds": 0})).is_err() {
                        return;
                    }
                }
                Chore::Release => self.rewrite(&kind, live, |meta| {
                    if let Some(finalizers) = meta["finalizers"].as_array_mut() {
                        finalizers.retain(|name| name != "foregroundDeletion");
                    }
                }),
                Chore::Disown(uids) => self.rewrite(&kind, live, |meta| {
                    if let Some(owners) = meta["ownerReferences"].as_array_mut() {
                        owners.retain(|owner| !uids.iter().any(|uid| owner["uid"] == uid.as_str()));
                    }
                }),
            }
        }
    }

    /// The next thing those controllers would do.
    fn next_chore(&self) -> Option<(Slot, Chore)> {
        let uid =
            |stored: &Arc<Stored>| stored.value["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        let present: HashSet<String> = self.all().map(|(_, stored)| uid(stored)).collect();
        let waiting: HashSet<String> = self
            .all()
            .filter(|(_, stored)| foreground(&stored.value))
            .map(|(_, stored)| uid(stored))
            .collect();
        let used: HashSet<&str> = self.all().map(|(slot, _)| slot.namespace.as_str()).collect();
        self.all().find_map(|(slot, stored)| {
            let meta = &stored.value["metadata"];
            let deleting = !meta["deletionTimestamp"].is_null();
            let chore = if slot.resource == "namespaces" {
                let empty = !used.contains(slot.name.as_str()) && !has_finalizers(&stored.value);
                (deleting && empty).then_some(Chore::Drop)
            } else if foreground(&stored.value)
                && !self.all().any(|(_, other)| blocks(&other.value, &uid(stored)))
            {
                Some(Chore::Release)
            } else {
                let owners = meta["ownerReferences"].as_array().map(Vec::as_slice).unwrap_or_default();
                let owners: Vec<String> =
                    owners.iter().map(|owner| owner["uid"].as_str().unwrap_or_default().to_owned()).collect();
                let (solid, gone): (Vec<_>, Vec<_>) =
                    owners.into_iter().partition(|uid| present.contains(uid) && !waiting.contains(uid));
                match (solid.is_empty(), gone.is_empty()) {
                    (_, true) => None,
                    (true, false) => (!deleting).then_some(Chore::Delete),
                    (false, false) => Some(Chore::Disown(gone)),
                }
            };
            chore.map(|chore| (slot.clone(), chore))
        })
    }

    fn rewrite(&mut self, kind: &Kind, live: Arc<Stored>, change: impl FnOnce(&mut Value)) {
        let mut value = live.value.clone();
        change(&mut value["metadata"]);
        let stored = self.put(kind, value, live.managers.clone(), Some(live));
        self.finish_deletion(kind, &stored);
    }

    fn orphan_dependents(&mut self, uid: &str) {
        let owned = self.all().filter(|(_, stored)| owned_by(&stored.value, uid));
        let dependents: Vec<_> = owned.map(|(slot, stored)| (slot.clone(), Arc::clone(stored))).collect();
        for (slot, live) in dependents {
            let Some(kind) = self.kind(&slot.resource) else { continue };
            let mut value = live.value.clone();
            if let Some(owners) = value["metadata"]["ownerReferences"].as_array_mut() {
                owners.retain(|owner| owner["uid"] != uid);
            }
            self.put(&kind, value, live.managers.clone(), Some(live));
        }
    }

    /// `DELETE` of a collection.
    pub(crate) fn delete_all(
        &mut self,
        kind: &Kind,
        namespace: &str,
        selection: &Selection,
        options: &Value,
    ) {
        for (slot, _) in self.list(&kind.qualified(), namespace, selection) {
            let _ = self.delete(kind, &slot, options);
        }
    }
}

fn has_finalizers(value: &Value) -> bool {
    value["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty())
}

fn foreground(value: &Value) -> bool {
    let marked = |list: &Vec<Value>| list.iter().any(|name| name == "foregroundDeletion");
    !value["metadata"]["deletionTimestamp"].is_null()
        && value["metadata"]["finalizers"].as_array().is_some_and(marked)
}

/// `true` if an object keeps an owner that is deleted in the foreground waiting.
fn blocks(value: &Value, uid: &str) -> bool {
    let blocking = |owner: &Value| owner["uid"] == uid && owner["blockOwnerDeletion"] == true;
    value["metadata"]["ownerReferences"].as_array().is_some_and(|owners| owners.iter().any(blocking))
}

fn owned_by(value: &Value, uid: &str) -> bool {
    value["metadata"]["ownerReferences"]
        .as_array()
        .is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == uid))
}
