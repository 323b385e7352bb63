//! Objects as last seen by one watch, shared with whoever reads them.

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
};

use kube::Resource;
use tokio::sync::watch;

use crate::Key;

/// A map of objects that one watch fills and any number of readers look at.
///
/// Cloning gives another handle to the same map. Reads never block on the
/// network and hand out `Arc`s; the lock is held for a map operation only.
pub struct Cache<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    objects: RwLock<HashMap<Key, Arc<K>>>,
    synced: watch::Sender<bool>,
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner) }
    }
}

impl<K> Default for Cache<K> {
    fn default() -> Self {
        Self {
            inner: Arc::new(Inner {
                objects: RwLock::new(HashMap::new()),
                synced: watch::Sender::new(false),
            }),
        }
    }
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("len", &self.len()).field("synced", &self.is_synced()).finish()
    }
}

impl<K> Cache<K> {
    /// An empty cache, not synced.
    pub fn new() -> Self {
        Self::default()
    }

    /// The object of this key, if it was seen.
    pub fn get(&self, key: &Key) -> Option<Arc<K>> {
        self.read(|objects| objects.get(key).cloned())
    }

    /// All objects, in no order.
    pub fn list(&self) -> Vec<Arc<K>> {
        self.read(|objects| objects.values().cloned().collect())
    }

    /// The objects for which `wanted` holds. It runs under the read lock: keep it short.
    pub fn select(&self, mut wanted: impl FnMut(&K) -> bool) -> Vec<Arc<K>> {
        self.read(|objects| objects.values().filter(|object| wanted(object)).cloned().collect())
    }

    /// All keys, in no order.
    pub fn keys(&self) -> Vec<Key> {
        self.read(|objects| objects.keys().cloned().collect())
    }

    /// How many objects there are.
    pub fn len(&self) -> usize {
        self.read(HashMap::len)
    }

    /// `true` if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// `true` once the first complete list has arrived. It stays so during later relists.
    pub fn is_synced(&self) -> bool {
        *self.inner.synced.borrow()
    }

    /// Waits for the first complete list.
    pub async fn wait_synced(&self) {
        // The sender lives in `self`, so the only way out is the value.
        let _ = self.inner.synced.subscribe().wait_for(|synced| *synced).await;
    }

    pub(crate) fn mark_synced(&self) {
        self.inner.synced.send_replace(true);
    }

    pub(crate) fn remove(&self, key: &Key) -> Option<Arc<K>> {
        self.inner.objects.write().unwrap_or_else(PoisonError::into_inner).remove(key)
    }

    fn read<T>(&self, view: impl FnOnce(&HashMap<Key, Arc<K>>) -> T) -> T {
        view(&self.inner.objects.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<K: Resource> Cache<K> {
    /// Puts an object in unless it is known in this or a newer version; gives it back if it was put in.
    pub(crate) fn insert(&self, key: Key, object: K) -> Option<Arc<K>> {
        let mut objects = self.inner.objects.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = objects.get(&key)
            && !is_newer(known.as_ref(), &object)
        {
            return None;
        }
        let object = Arc::new(object);
        objects.insert(key, Arc::clone(&object));
        Some(object)
    }
}

/// Versions of one object are comparable numbers (Kubernetes 1.35 makes that part of the API).
/// A list answered by a lagging API server must not turn time back.
fn is_newer<K: Resource>(known: &K, candidate: &K) -> bool {
    let (old, new) = (known.meta(), candidate.meta());
    if old.uid != new.uid {
        return true;
    }
    let number = |version: &Option<String>| version.as_ref().and_then(|text| text.parse::<u64>().ok());
    match (number(&old.resource_version), number(&new.resource_version)) {
        (Some(old), Some(new)) => new > old,
        _ => old.resource_version != new.resource_version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::ConfigMap;

    fn config(uid: &str, version: &str) -> ConfigMap {
        let mut object = ConfigMap::default();
        object.metadata.uid = Some(uid.into());
        object.metadata.resource_version = Some(version.into());
        object
    }

    #[test]
    fn time_never_turns_back_but_a_new_object_replaces_the_old_one() {
        let cache = Cache::new();
        let key = Key::namespaced("n", "a");
        assert!(cache.insert(key.clone(), config("1", "10")).is_some());
        assert!(cache.insert(key.clone(), config("1", "10")).is_none(), "same version");
        assert!(cache.insert(key.clone(), config("1", "9")).is_none(), "9 is older than 10 as a number");
        assert!(cache.insert(key.clone(), config("1", "11")).is_some());
        assert!(cache.insert(key.clone(), config("2", "3")).is_some(), "another object of that name");
        assert_eq!(cache.get(&key).unwrap().metadata.resource_version.as_deref(), Some("3"));
        assert_eq!(cache.len(), 1);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_first_sync() {
        let cache = Cache::<ConfigMap>::new();
        let other = cache.clone();
        let waiting = tokio::spawn(async move { other.wait_synced().await });
        cache.mark_synced();
        waiting.await.unwrap();
        assert!(cache.is_synced());
    }
}
