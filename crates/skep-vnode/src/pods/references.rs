//! Which pods use which secret and configMap, so that one watch of their metadata serves all pods of the process.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::core::v1::Pod;

use crate::backend::{PodUid, Reference, references};

/// Kinds that are watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `v1 Secret`.
    Secret,
    /// `v1 ConfigMap`.
    ConfigMap,
}

/// An object some pod refers to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ObjectKey {
    /// What it is.
    pub kind: Kind,
    /// Its namespace, the pod's own.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// A pod and the index of its node.
pub type User = (u8, PodUid);

#[derive(Default)]
struct Usage {
    users: BTreeSet<User>,
    /// Resource version that was loaded last, empty for an object known to be missing.
    loaded: Option<String>,
}

/// The index. Holds names of objects in use only, never an object.
#[derive(Default)]
pub struct ReferenceIndex(Mutex<HashMap<ObjectKey, Usage>>);

impl ReferenceIndex {
    /// Notes what a pod refers to; what it referred to before and no longer does is dropped.
    pub fn set(&self, user: &User, pod: &Pod) {
        let keys = keys_of(pod);
        self.with(|index| {
            index.retain(|key, usage| {
                if !keys.contains(key) {
                    usage.users.remove(user);
                }
                !usage.users.is_empty()
            });
            for key in keys {
                index.entry(key).or_default().users.insert(user.clone());
            }
        });
    }

    /// Drops a pod.
    pub fn remove(&self, user: &User) {
        self.with(|index| {
            index.retain(|_, usage| {
                usage.users.remove(user);
                !usage.users.is_empty()
            });
        });
    }

    /// Notes that a version was read for some pod; `None`: it does not exist.
    pub fn loaded(&self, key: &ObjectKey, version: Option<&str>) {
        self.with(|index| {
            if let Some(usage) = index.get_mut(key) {
                usage.loaded = Some(version.unwrap_or_default().to_owned());
            }
        });
    }

    /// The pods that have to hear that the object now is at this version (`None`: gone): those that use it, unless
    /// they were given exactly that version.
    #[must_use]
    pub fn affected(&self, key: &ObjectKey, version: Option<&str>) -> Vec<User> {
        self.with(|index| match index.get(key) {
            Some(usage) if usage.loaded.as_deref() != Some(version.unwrap_or_default()) => {
                usage.users.iter().cloned().collect()
            }
            _ => Vec::new(),
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut HashMap<ObjectKey, Usage>) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn keys_of(pod: &Pod) -> Vec<ObjectKey> {
    let Some(spec) = &pod.spec else { return Vec::new() };
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let found = references(pod.metadata.name.as_deref().unwrap_or_default(), spec);
    let key = |kind, name| ObjectKey { kind, namespace: namespace.clone(), name };
    let keys = found.into_iter().filter_map(|reference| match reference {
        Reference::Secret(name) => Some(key(Kind::Secret, name)),
        Reference::ConfigMap(name) => Some(key(Kind::ConfigMap, name)),
        Reference::Claim(_) => None,
    });
    keys.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod(secrets: &[&str]) -> Pod {
        let volumes: Vec<_> =
            secrets.iter().map(|name| json!({"name": name, "secret": {"secretName": name}})).collect();
        serde_json::from_value(json!({"metadata": {"namespace": "n", "name": "p"},
            "spec": {"containers": [], "volumes": volumes}}))
        .unwrap()
    }

    fn key(name: &str) -> ObjectKey {
        ObjectKey { kind: Kind::Secret, namespace: "n".into(), name: name.into() }
    }

    #[test]
    fn only_users_of_another_version_are_told() {
        let index = ReferenceIndex::default();
        let user: User = (0, PodUid::parse("u").unwrap());
        index.set(&user, &pod(&["a"]));
        assert_eq!(index.affected(&key("a"), Some("1")), std::slice::from_ref(&user));
        assert!(index.affected(&key("b"), Some("1")).is_empty());
        index.loaded(&key("a"), Some("1"));
        assert!(index.affected(&key("a"), Some("1")).is_empty());
        assert_eq!(index.affected(&key("a"), Some("2")), std::slice::from_ref(&user));
        assert_eq!(index.affected(&key("a"), None), [user]);
    }

    #[test]
    fn a_changed_or_gone_pod_leaves_nothing_behind() {
        let index = ReferenceIndex::default();
        let user: User = (0, PodUid::parse("u").unwrap());
        index.set(&user, &pod(&["a", "b"]));
        index.set(&user, &pod(&["b"]));
        assert!(index.affected(&key("a"), Some("1")).is_empty());
        index.remove(&user);
        assert!(index.with(|index| index.is_empty()));
    }
}
