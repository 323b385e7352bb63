//! What the metadata watches of a controller see, by kind.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::core::{PartialObjectMeta, Selector, SelectorExt};

use crate::{Cache, Key, Object};

/// Metadata of the children of a controller, as its watches see them. Cheap to clone.
///
/// [`crate::Controller::observed`] gives the one that its `owns` watches fill.
#[derive(Clone, Default)]
pub struct Observed {
    kinds: Arc<RwLock<HashMap<String, Seen>>>,
}

struct Seen {
    /// What the watch is restricted to: it proves nothing about objects outside.
    selector: Option<String>,
    store: Box<dyn Store>,
}

trait Store: Send + Sync {
    fn get(&self, key: &Key) -> Option<ObjectMeta>;
    fn select(&self, namespace: Option<&str>, selector: &Selector) -> Vec<ObjectMeta>;
    fn synced(&self) -> bool;
}

impl<K: Object> Store for Cache<PartialObjectMeta<K>> {
    fn get(&self, key: &Key) -> Option<ObjectMeta> {
        Cache::get(self, key).map(|object| object.metadata.clone())
    }

    fn select(&self, namespace: Option<&str>, selector: &Selector) -> Vec<ObjectMeta> {
        let nothing = std::collections::BTreeMap::new();
        Cache::select(self, |object| {
            namespace.is_none_or(|wanted| object.metadata.namespace.as_deref() == Some(wanted))
                && selector.matches(object.metadata.labels.as_ref().unwrap_or(&nothing))
        })
        .into_iter()
        .map(|object| object.metadata.clone())
        .collect()
    }

    fn synced(&self) -> bool {
        self.is_synced()
    }
}

fn name_of<K: Object>() -> String {
    format!("{}/{}", K::group(&()), K::kind(&()))
}

impl Observed {
    pub(crate) fn add<K: Object>(&self, selector: Option<String>, cache: Cache<PartialObjectMeta<K>>) {
        let seen = Seen { selector, store: Box::new(cache) };
        self.kinds.write().unwrap_or_else(PoisonError::into_inner).insert(name_of::<K>(), seen);
    }

    /// Metadata of one object, if its kind is observed and it was seen.
    pub fn get<K: Object>(&self, key: &Key) -> Option<ObjectMeta> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        kinds.get(&name_of::<K>()).and_then(|seen| seen.store.get(key))
    }

    /// All observed objects of a kind that match; `None` if the watches cannot know all of them.
    pub(super) fn select<K: Object>(
        &self,
        namespace: Option<&str>,
        selector: &str,
    ) -> Option<Vec<ObjectMeta>> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        let seen = kinds.get(&name_of::<K>()).filter(|seen| seen.store.synced())?;
        // A narrower question than the watch's own can be answered: each of its terms must be in ours.
        let covered = seen
            .selector
            .iter()
            .flat_map(|own| own.split(','))
            .all(|term| selector.split(',').any(|t| t == term));
        let parsed: Selector = parse(selector)?;
        covered.then(|| seen.store.select(namespace, &parsed))
    }
}

/// Only the plain form `a=b,c=d` is understood; anything else is asked of the server.
fn parse(selector: &str) -> Option<Selector> {
    let mut pairs = Vec::new();
    for term in selector.split(',') {
        let (key, value) = term.split_once('=')?;
        if key.is_empty() || key.contains(['!', ' ', '(']) || value.contains(['=', ' ']) {
            return None;
        }
        pairs.push((key.to_owned(), value.to_owned()));
    }
    Some(pairs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::Secret;

    fn observed(selector: &str, synced: bool) -> Observed {
        let cache = Cache::new();
        for (namespace, name, tenant) in [("a", "x", "t1"), ("a", "y", "t2"), ("b", "z", "t1")] {
            let labels = [("by".to_owned(), "skep".to_owned()), ("tenant".to_owned(), tenant.to_owned())];
            let metadata = ObjectMeta {
                name: Some(name.into()),
                namespace: Some(namespace.into()),
                labels: Some(labels.into()),
                ..ObjectMeta::default()
            };
            let object = PartialObjectMeta::<Secret> { metadata, ..PartialObjectMeta::default() };
            cache.insert(Key::namespaced(namespace, name), object);
        }
        if synced {
            cache.mark_synced();
        }
        let observed = Observed::default();
        observed.add::<Secret>(Some(selector.to_owned()), cache);
        observed
    }

    fn names(found: Option<Vec<ObjectMeta>>) -> Option<Vec<String>> {
        found.map(|list| {
            let mut names: Vec<_> = list.into_iter().filter_map(|meta| meta.name).collect();
            names.sort();
            names
        })
    }

    #[test]
    fn only_questions_within_the_watch_are_answered() {
        let observed = observed("by=skep", true);
        let ask = |namespace, selector| names(observed.select::<Secret>(namespace, selector));
        assert_eq!(ask(Some("a"), "by=skep"), Some(vec!["x".into(), "y".into()]));
        assert_eq!(ask(None, "by=skep,tenant=t1"), Some(vec!["x".into(), "z".into()]));
        assert_eq!(ask(None, "tenant=t1"), None, "the watch does not see objects of others");
        assert_eq!(ask(None, "by=skep,tenant in (t1)"), None, "not understood");
        assert_eq!(ask(None, "by=skep,!tenant"), None, "not understood");
    }

    #[test]
    fn nothing_is_known_before_the_first_list() {
        assert_eq!(observed("by=skep", false).select::<Secret>(None, "by=skep"), None);
        assert_eq!(Observed::default().select::<k8s_openapi::api::core::v1::Pod>(None, "by=skep"), None);
    }
}
