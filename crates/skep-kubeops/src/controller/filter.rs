//! Which changes of a controller's own object are worth a reconcile.

use std::{
    collections::HashMap,
    hash::{DefaultHasher, Hash, Hasher},
};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::Key;

/// Remembers what was last seen of each object, without its status.
///
/// A controller that is woken by its own status writes never rests.
#[derive(Debug, Default)]
pub(super) struct Filter {
    seen: HashMap<Key, u64>,
    status_counts: bool,
}

impl Filter {
    pub(super) fn new(status_counts: bool) -> Self {
        Self { seen: HashMap::new(), status_counts }
    }

    /// `true` if more than the status changed since the last call for this key.
    pub(super) fn is_news(&mut self, key: &Key, meta: &ObjectMeta) -> bool {
        let print = fingerprint(meta, self.status_counts);
        self.seen.insert(key.clone(), print) != Some(print)
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.seen.remove(key);
    }
}

fn fingerprint(meta: &ObjectMeta, with_status: bool) -> u64 {
    let mut hasher = DefaultHasher::new();
    meta.uid.hash(&mut hasher);
    meta.generation.hash(&mut hasher);
    meta.finalizers.hash(&mut hasher);
    meta.labels.hash(&mut hasher);
    meta.annotations.hash(&mut hasher);
    meta.deletion_timestamp.is_some().hash(&mut hasher);
    for owner in meta.owner_references.iter().flatten() {
        owner.uid.hash(&mut hasher);
    }
    // Kinds without a generation say only by their version that something changed.
    if with_status || meta.generation.is_none_or(|generation| generation == 0) {
        meta.resource_version.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::{apimachinery::pkg::apis::meta::v1::Time, jiff::Timestamp};

    fn meta(version: &str, generation: Option<i64>) -> ObjectMeta {
        ObjectMeta {
            uid: Some("u".into()),
            resource_version: Some(version.into()),
            generation,
            ..ObjectMeta::default()
        }
    }

    #[test]
    fn status_writes_are_no_news_but_everything_else_is() {
        let key = Key::namespaced("n", "a");
        let mut filter = Filter::new(false);
        assert!(filter.is_news(&key, &meta("1", Some(1))), "first sight");
        assert!(!filter.is_news(&key, &meta("2", Some(1))), "only the status");
        assert!(filter.is_news(&key, &meta("3", Some(2))), "spec");
        let changes: [fn(&mut ObjectMeta); 5] = [
            |m| m.finalizers = Some(vec!["f".into()]),
            |m| m.deletion_timestamp = Some(Time(Timestamp::UNIX_EPOCH)),
            |m| m.labels = Some([("k".to_owned(), "v".to_owned())].into()),
            |m| m.annotations = Some([("k".to_owned(), "v".to_owned())].into()),
            |m| m.uid = Some("another".into()),
        ];
        let mut object = meta("3", Some(2));
        for (index, change) in changes.into_iter().enumerate() {
            change(&mut object);
            assert!(filter.is_news(&key, &object), "change {index}");
            assert!(!filter.is_news(&key, &object), "change {index} again");
        }
        filter.forget(&key);
        assert!(filter.is_news(&key, &object), "a new object of that name");
    }

    #[test]
    fn kinds_without_generation_and_controllers_that_ask_see_every_version() {
        let key = Key::namespaced("n", "a");
        let mut filter = Filter::new(false);
        assert!(filter.is_news(&key, &meta("1", None)));
        assert!(filter.is_news(&key, &meta("2", None)));
        let mut filter = Filter::new(true);
        assert!(filter.is_news(&key, &meta("1", Some(1))));
        assert!(filter.is_news(&key, &meta("2", Some(1))));
    }
}
