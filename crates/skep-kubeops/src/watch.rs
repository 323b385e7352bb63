//! Watches that never die.
//!
//! Guarantees: one undecodable object is an event about that object, not the
//! end of the watch; errors are retried with a growing pause that only real
//! progress resets; deletions missed while disconnected are reported after the
//! next list; `managedFields` and what `kubectl apply` keeps of an object never reach memory.

use std::{
    collections::{HashSet, VecDeque},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use futures::{Stream, StreamExt};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::{
    Api, Client,
    runtime::watcher::{self, Event},
};

use crate::{Cache, Key, Object, backoff::Backoff};

mod guard;

pub use guard::{Guard, Undecodable};

/// First and longest pause between attempts to list or watch.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Duration of one watch call. Half the server's usual five to ten minutes, so
/// that a connection that died silently is noticed (5 s after it) before people do.
const WATCH_SECONDS: u32 = 240;

/// What to watch: everything of a kind unless restricted.
#[derive(Clone, Debug, Default)]
pub struct Select {
    /// Only this namespace.
    pub namespace: Option<String>,
    /// Only objects with these labels (selector syntax).
    pub labels: Option<String>,
    /// Only objects with these fields (`metadata.name=…`).
    pub fields: Option<String>,
}

impl Select {
    /// Everything of the kind.
    pub fn all() -> Self {
        Self::default()
    }

    /// Objects that match a label selector.
    pub fn labels(selector: impl Into<String>) -> Self {
        Self { labels: Some(selector.into()), ..Self::default() }
    }

    /// One object by name.
    pub fn named(name: &str) -> Self {
        Self { fields: Some(format!("metadata.name={name}")), ..Self::default() }
    }

    /// Restricted to a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Restricted by a field selector.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }

    fn config(&self) -> watcher::Config {
        watcher::Config {
            label_selector: self.labels.clone(),
            field_selector: self.fields.clone(),
            timeout: Some(WATCH_SECONDS),
            ..watcher::Config::default().any_semantic()
        }
    }
}

/// What happened to an object, or to the watch.
#[derive(Clone, Debug)]
pub enum Change<K> {
    /// New, changed, or listed in a version not seen before.
    Applied(Arc<K>),
    /// Gone. The object is as last seen.
    Deleted(Arc<K>),
    /// There, but not readable by this version of the program; it is not in the cache.
    Undecodable(Box<Undecodable>),
    /// A complete list has been delivered; the cache is whole.
    Synced,
    /// The API server could not be reached or refused; the watch goes on by itself.
    Interrupted(String),
}

/// Watches a kind for ever, keeping `cache` up to date before each change is delivered.
///
/// For metadata only use `K = PartialObjectMeta<Pod>`. The stream never ends
/// and needs no restart; dropping it ends the watch.
pub fn changes<K: Object>(
    client: Client,
    select: Select,
    cache: Cache<K>,
) -> impl Stream<Item = Change<K>> + Send + Unpin {
    let watch = Watch {
        stream: None,
        client,
        select,
        cache,
        backoff: Backoff::new(FIRST_PAUSE, LONGEST_PAUSE),
        listed: HashSet::new(),
        pending: VecDeque::new(),
        pause: None,
    };
    futures::stream::unfold(watch, |mut watch| async move {
        let change = watch.next().await;
        Some((change, watch))
    })
    .boxed()
}

/// Annotation in which `kubectl apply` keeps a second copy of the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Takes away what nobody here looks at, and the room that lists from JSON have beyond what they hold.
fn slim(meta: &mut ObjectMeta) {
    meta.managed_fields = None;
    if let Some(annotations) = &mut meta.annotations {
        annotations.remove(LAST_APPLIED);
        if annotations.is_empty() {
            meta.annotations = None;
        }
    }
    if let Some(owners) = &mut meta.owner_references {
        owners.shrink_to_fit();
    }
    if let Some(finalizers) = &mut meta.finalizers {
        finalizers.shrink_to_fit();
    }
}

type Events<K> = Pin<Box<dyn Stream<Item = Result<Event<Guard<K>>, watcher::Error>> + Send>>;

struct Watch<K> {
    stream: Option<Events<K>>,
    client: Client,
    select: Select,
    cache: Cache<K>,
    backoff: Backoff,
    /// Keys of the list that is being delivered.
    listed: HashSet<Key>,
    pending: VecDeque<Change<K>>,
    pause: Option<Duration>,
}

impl<K: Object> Watch<K> {
    async fn next(&mut self) -> Change<K> {
        loop {
            if let Some(change) = self.pending.pop_front() {
                return change;
            }
            if let Some(pause) = self.pause.take() {
                tokio::time::sleep(pause).await;
            }
            let event = match &mut self.stream {
                Some(stream) => stream.next().await,
                None => {
                    self.stream = Some(self.open());
                    continue;
                }
            };
            match event {
                Some(Ok(event)) => self.take(event),
                Some(Err(error)) => return self.failed(&error),
                // The watcher has no end; should it get one, begin again.
                None => self.stream = None,
            }
        }
    }

    fn open(&self) -> Events<K> {
        let api: Api<Guard<K>> = match &self.select.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        };
        Box::pin(watcher::watcher(api, self.select.config()))
    }

    fn take(&mut self, event: Event<Guard<K>>) {
        match event {
            // Comes before the list is even asked for: it is no progress and must not reset the pause.
            Event::Init => self.listed.clear(),
            Event::InitApply(guard) => {
                self.listed.insert(Key::of(&guard));
                self.seen(guard);
            }
            Event::InitDone => {
                self.backoff.reset();
                for key in self.cache.keys() {
                    if !self.listed.contains(&key)
                        && let Some(gone) = self.cache.remove(&key)
                    {
                        self.pending.push_back(Change::Deleted(gone));
                    }
                }
                self.listed = HashSet::new();
                self.cache.mark_synced();
                self.pending.push_back(Change::Synced);
            }
            Event::Apply(guard) => {
                self.backoff.reset();
                self.seen(guard);
            }
            Event::Delete(guard) => {
                self.backoff.reset();
                let key = Key::of(&guard);
                let known = self.cache.remove(&key);
                let last = guard.0.ok().map(Arc::new).or(known);
                self.pending.extend(last.map(Change::Deleted));
            }
        }
    }

    fn seen(&mut self, guard: Guard<K>) {
        let key = Key::of(&guard);
        match guard.0 {
            Ok(mut object) => {
                slim(object.meta_mut());
                self.pending.extend(self.cache.insert(key, object).map(Change::Applied));
            }
            Err(undecodable) => {
                self.cache.remove(&key);
                self.pending.push_back(Change::Undecodable(Box::new(undecodable)));
            }
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Change<K> {
        let delay = self.backoff.next_delay();
        let kind = K::kind(&());
        let text = crate::error::describe_watch(error);
        if self.backoff.failures() == 1 {
            tracing::debug!(%kind, %text, "watch interrupted");
        } else {
            tracing::warn!(%kind, %text, failures = self.backoff.failures(), "watch keeps failing");
        }
        self.pause = Some(delay);
        if crate::error::is_expired(error) {
            // The watcher would ask again from the same version for ever.
            self.stream = None;
        }
        Change::Interrupted(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

    #[test]
    fn only_second_copies_and_empty_room_are_taken_away() {
        let mut owners = Vec::with_capacity(4);
        owners.push(OwnerReference::default());
        let annotations =
            |all: &[&str]| Some(all.iter().map(|key| ((*key).to_owned(), String::new())).collect());
        let mut meta = ObjectMeta {
            annotations: annotations(&[LAST_APPLIED, "mine"]),
            owner_references: Some(owners),
            managed_fields: Some(Vec::new()),
            ..ObjectMeta::default()
        };
        slim(&mut meta);
        assert_eq!((&meta.annotations, &meta.managed_fields), (&annotations(&["mine"]), &None));
        let owners = meta.owner_references.unwrap();
        assert_eq!((owners.len(), owners.capacity()), (1, 1));
        meta = ObjectMeta { annotations: annotations(&[LAST_APPLIED]), ..ObjectMeta::default() };
        slim(&mut meta);
        assert_eq!(meta, ObjectMeta::default());
    }
}
