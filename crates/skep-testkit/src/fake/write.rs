//! Creating and changing objects: the rules every write passes.

use std::sync::Arc;

use serde_json::{Value, json};

use super::{
    failure::Failure,
    kinds::Kind,
    schema,
    ssa::{self, Manager, Writer},
    world::{Slot, Stored, World},
};

/// What a request wants to write into.
pub(crate) struct Goal<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) namespace: &'a str,
    pub(crate) name: &'a str,
    pub(crate) by: &'a Writer,
}

impl Goal<'_> {
    pub(crate) fn slot(&self) -> Slot {
        Slot { resource: self.kind.qualified(), namespace: self.namespace.into(), name: self.name.into() }
    }
}

impl World {
    /// `POST`: a new object.
    pub(crate) fn create(&mut self, goal: &Goal<'_>, mut value: Value) -> Result<Arc<Stored>, Failure> {
        let kind = goal.kind;
        check_type(kind, &value)?;
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        if value["metadata"]["name"].as_str().is_none_or(str::is_empty) {
            let Some(prefix) = value["metadata"]["generateName"].as_str().map(str::to_owned) else {
                return Err(Failure::invalid(
                    kind,
                    "",
                    "metadata.name: Required value: name or generateName is required",
                ));
            };
            value["metadata"]["name"] = json!(format!("{prefix}{}", self.next_suffix()));
        }
        if value["metadata"]["resourceVersion"].as_str().is_some_and(|version| !version.is_empty()) {
            return Err(Failure::new(
                500,
                "InternalError",
                "resourceVersion should not be set on objects to be created",
            ));
        }
        let name = value["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let goal = Goal { name: &name, ..*goal };
        self.check_namespace(&goal)?;
        if self.get(&goal.slot()).is_some() {
            return Err(Failure::already_exists(kind, &name));
        }
        // Before ownership: who creates an object owns its defaults too.
        admit(kind, &mut value);
        let managers = ssa::updated(kind, &[], &json!({}), &without_status(kind, &value), goal.by);
        Ok(self.store_new(&goal, value, managers))
    }

    /// Stores an object that did not exist; what only the server says is filled in here.
    fn store_new(&mut self, goal: &Goal<'_>, value: Value, managers: Vec<Manager>) -> Arc<Stored> {
        let kind = goal.kind;
        let mut value = without_status(kind, &value);
        value["apiVersion"] = json!(kind.api_version());
        value["kind"] = json!(kind.kind);
        if let Some(meta) = value["metadata"].as_object_mut() {
            for server_side in ["deletionTimestamp", "deletionGracePeriodSeconds", "generation", "selfLink"] {
                meta.remove(server_side);
            }
        }
        value["metadata"]["name"] = json!(goal.name);
        if kind.namespaced {
            value["metadata"]["namespace"] = json!(goal.namespace);
        }
        if kind.generation {
            value["metadata"]["generation"] = json!(1);
        }
        self.identify(&mut value);
        match kind.qualified().as_str() {
            "namespaces" => {
                value["metadata"]["labels"]["kubernetes.io/metadata.name"] = json!(goal.name);
                value["spec"]["finalizers"] = json!(["kubernetes"]);
                value["status"]["phase"] = json!("Active");
            }
            "pods" => value["status"] = json!({"phase": "Pending"}),
            "customresourcedefinitions.apiextensions.k8s.io" => {
                self.serve_crd(&value);
                value["status"]["conditions"] = json!([
                    {"type": "NamesAccepted", "status": "True", "reason": "NoConflicts", "message": "", "lastTransitionTime": Self::now()},
                    {"type": "Established", "status": "True", "reason": "InitialNamesAccepted", "message": "", "lastTransitionTime": Self::now()},
                ]);
            }
            _ => {}
        }
        admit(kind, &mut value);
        self.put(kind, value, managers, None)
    }

    /// `PUT`, and what merge and JSON patches end in: `value` in place of what is there.
    pub(crate) fn replace(&mut self, goal: &Goal<'_>, value: Value) -> Result<Arc<Stored>, Failure> {
        let kind = goal.kind;
        check_type(kind, &value)?;
        let live = self.find(kind, &goal.slot())?;
        let meta = &value["metadata"];
        if meta["name"].as_str().is_some_and(|name| name != goal.name) {
            return Err(Failure::bad_request("the name of the object does not match the name on the URL"));
        }
        if let Some(uid) = meta["uid"].as_str().filter(|uid| !uid.is_empty())
            && live.value["metadata"]["uid"] != uid
        {
            return Err(uid_conflict(kind, goal.name, uid, &live));
        }
        match meta["resourceVersion"].as_str().filter(|version| !version.is_empty()) {
            Some(version) if live.value["metadata"]["resourceVersion"] != version => {
                return Err(Failure::modified(kind, goal.name));
            }
            // Only built-in kinds may be overwritten blindly.
            None if kind.schema.is_some() => {
                return Err(Failure::unversioned(kind, goal.name));
            }
            _ => {}
        }
        let next = self.settle(goal, &live, value)?;
        let managers = ssa::updated(kind, &live.managers, &live.value, &next, goal.by);
        Ok(self.commit(goal, &live, next, managers))
    }

    /// Server-side apply. The second part is `true` if the object was created.
    pub(crate) fn apply(&mut self, goal: &Goal<'_>, config: &Value) -> Result<(Arc<Stored>, bool), Failure> {
        let kind = goal.kind;
        check_type(kind, config)?;
        if config["metadata"].get("managedFields").is_some_and(|fields| !fields.is_null()) {
            return Err(Failure::bad_request("metadata.managedFields must be nil"));
        }
        let wanted_uid = config["metadata"]["uid"].as_str().filter(|uid| !uid.is_empty());
        let Some(live) = self.get(&goal.slot()) else {
            if goal.by.status {
                return Err(Failure::not_found(kind, goal.name));
            }
            if let Some(uid) = wanted_uid {
                let why = format!(
                    "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
                );
                return Err(Failure::conflict(kind, goal.name, &why));
            }
            self.check_namespace(goal)?;
            let (value, managers) = ssa::apply(kind, &[], &json!({"metadata": {}}), config, goal.by)?;
            return Ok((self.store_new(goal, value, managers), true));
        };
        // The status of a custom resource takes its metadata from what is stored before anything is
        // compared: upstream does not notice another uid there.
        let blind = goal.by.status && kind.schema.is_some();
        if let Some(uid) = wanted_uid.filter(|_| !blind)
            && live.value["metadata"]["uid"] != uid
        {
            let why = format!("metadata.uid: Invalid value: \"{uid}\": field is immutable");
            return Err(Failure::invalid(kind, goal.name, &why));
        }
        if let Some(version) = config["metadata"]["resourceVersion"].as_str().filter(|v| !v.is_empty())
            && live.value["metadata"]["resourceVersion"] != version
        {
            return Err(Failure::modified(kind, goal.name));
        }
        let (value, managers) = ssa::apply(kind, &live.managers, &live.value, config, goal.by)?;
        let next = self.settle(goal, &live, value)?;
        Ok((self.commit(goal, &live, next, managers), false))
    }

    /// The object as it may become: what the writer may not touch stays as it is.
    fn settle(&self, goal: &Goal<'_>, live: &Stored, mut next: Value) -> Result<Value, Failure> {
        let kind = goal.kind;
        let old = &live.value;
        next["apiVersion"] = old["apiVersion"].clone();
        next["kind"] = old["kind"].clone();
        if goal.by.status {
            let mut settled = old.clone();
            match next.get("status").filter(|status| !status.is_null()) {
                Some(status) => settled["status"] = status.clone(),
                None => remove(&mut settled, "status"),
            }
            next = settled;
        } else if kind.status {
            match old.get("status") {
                Some(status) => next["status"] = status.clone(),
                None => remove(&mut next, "status"),
            }
        }
        for fixed in [
            "name",
            "namespace",
            "uid",
            "creationTimestamp",
            "generation",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
        ] {
            match old["metadata"].get(fixed) {
                Some(value) => next["metadata"][fixed] = value.clone(),
                None => remove(&mut next["metadata"], fixed),
            }
        }
        for map in ["labels", "annotations", "finalizers", "ownerReferences"] {
            if next["metadata"].get(map).is_some_and(is_nothing) {
                remove(&mut next["metadata"], map);
            }
        }
        admit(kind, &mut next);
        if !old["metadata"]["deletionTimestamp"].is_null() {
            let names =
                |value: &Value| value["metadata"]["finalizers"].as_array().cloned().unwrap_or_default();
            let known = names(old);
            let added: Vec<_> = names(&next).into_iter().filter(|name| !known.contains(name)).collect();
            if !added.is_empty() {
                let list: Vec<_> = added.iter().map(ToString::to_string).collect();
                let why = format!(
                    "metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
                    list.join(", ")
                );
                return Err(Failure::invalid(kind, goal.name, &why));
            }
        }
        Ok(next)
    }

    /// Stores a settled object if anything is different, and lets a deletion finish.
    fn commit(
        &mut self,
        goal: &Goal<'_>,
        live: &Arc<Stored>,
        mut next: Value,
        managers: Vec<Manager>,
    ) -> Arc<Stored> {
        let kind = goal.kind;
        let same = content(&live.value) == content(&next);
        let owners = |list: &[Manager]| {
            list.iter().map(|m| (m.name.clone(), m.apply, m.status, m.fields.clone())).collect::<Vec<_>>()
        };
        if same && owners(&live.managers) == owners(&managers) {
            return Arc::clone(live);
        }
        if kind.generation && spec(kind, &live.value) != spec(kind, &next) {
            let generation = live.value["metadata"]["generation"].as_i64().unwrap_or(0);
            next["metadata"]["generation"] = json!(generation + 1);
        }
        let stored = self.put(kind, next, managers, Some(Arc::clone(live)));
        if kind.qualified() == "customresourcedefinitions.apiextensions.k8s.io" {
            self.serve_crd(&stored.value);
        }
        self.finish_deletion(goal.kind, &stored);
        stored
    }

    fn check_namespace(&self, goal: &Goal<'_>) -> Result<(), Failure> {
        if !goal.kind.namespaced {
            return Ok(());
        }
        let Some(kind) = self.kind("namespaces") else { return Ok(()) };
        let slot = Slot { resource: kind.qualified(), namespace: String::new(), name: goal.namespace.into() };
        let namespace = self.find(&kind, &slot)?;
        if namespace.value["metadata"]["deletionTimestamp"].is_null() {
            Ok(())
        } else {
            Err(Failure::terminating(goal.kind, goal.name, goal.namespace))
        }
    }
}

/// What becomes of an object on its way in.
fn admit(kind: &Kind, value: &mut Value) {
    match &kind.schema {
        Some(schema) => schema::admit(schema, value),
        None => schema::admit_built_in(&kind.qualified(), value),
    }
}

fn check_type(kind: &Kind, value: &Value) -> Result<(), Failure> {
    let said = (value["apiVersion"].as_str(), value["kind"].as_str());
    let api_version = kind.api_version();
    match said {
        (Some(api), Some(name)) if api != api_version || name != kind.kind => {
            Err(Failure::bad_request(format!(
                "the API version in the data ({api}) or kind ({name}) does not match the expected {api_version} {}",
                kind.kind
            )))
        }
        _ if !value.is_object() => Err(Failure::bad_request("the body is not an object")),
        _ => Ok(()),
    }
}

fn uid_conflict(kind: &Kind, name: &str, uid: &str, live: &Stored) -> Failure {
    let actual = live.value["metadata"]["uid"].as_str().unwrap_or_default();
    let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {actual}");
    Failure::conflict(kind, name, &why)
}

/// On creation the status is the controller's, not the creator's.
fn without_status(kind: &Kind, value: &Value) -> Value {
    let mut value = value.clone();
    if kind.status {
        remove(&mut value, "status");
    }
    value
}

/// What counts for "did anything change".
fn content(value: &Value) -> Value {
    let mut value = value.clone();
    for volatile in ["resourceVersion", "managedFields"] {
        remove(&mut value["metadata"], volatile);
    }
    value
}

/// What counts for `generation`: everything but metadata and, with a status subresource, status.
fn spec(kind: &Kind, value: &Value) -> Value {
    let mut value = without_status(kind, value);
    remove(&mut value, "metadata");
    value
}

fn is_nothing(value: &Value) -> bool {
    value.is_null()
        || value.as_object().is_some_and(serde_json::Map::is_empty)
        || value.as_array().is_some_and(Vec::is_empty)
}

pub(crate) fn remove(value: &mut Value, field: &str) {
    if let Some(fields) = value.as_object_mut() {
        fields.remove(field);
    }
}
