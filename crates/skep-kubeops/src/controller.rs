//! The controller runner: watches in, reconciles out.
//!
//! Guarantees: a reconcile starts the moment an event arrives (no debounce, no
//! start-up jitter) unless the object is running or was a moment ago, or all
//! slots are taken, or the watch is behind the reconciler's own writes; the same object never runs twice at once; every reconcile has a
//! deadline; failures back off per object; a panic is a failure of that object
//! only; nothing polls, and an idle object costs a map entry, not a task.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, stream::BoxStream};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Client, Resource, core::PartialObjectMeta};
use tokio_util::sync::CancellationToken;

use crate::{
    Cache, Key, Metrics, Object, Observed, Reconciler, Recorder,
    watch::{self, Change, Select},
};

mod filter;
mod lag;
mod queue;
mod run;
mod trigger;
mod unreadable;

pub use trigger::Trigger;

/// Reconciles at once, if not set.
const CONCURRENCY: usize = 16;
/// Pause between two reconciles of one object. Children come up in a run of small changes (a pod's start alone writes its
/// status five times), and a reconcile that reads them all is worth more when it sees several.
const REST: Duration = Duration::from_millis(100);
/// Deadline of one reconcile, if not set.
const DEADLINE: Duration = Duration::from_secs(60);
/// Pause until an object is looked at although nothing happened, if not set.
const RESYNC: Duration = Duration::from_secs(600);
/// How long running reconciles may go on after a stop was asked for, if not set.
const GRACE: Duration = Duration::from_secs(5);

/// Which objects an event concerns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Targets {
    /// None.
    None,
    /// One.
    One(Key),
    /// Some.
    Many(Vec<Key>),
    /// All objects of the controller (a catalogue changed).
    All,
}

impl From<Option<Key>> for Targets {
    fn from(key: Option<Key>) -> Self {
        key.map_or(Self::None, Self::One)
    }
}

/// What comes out of the watches of other kinds.
enum Signal {
    Targets(Targets),
    Interrupted,
}

type Gate = Box<dyn Fn() -> bool + Send + Sync>;

/// A controller being put together; [`Controller::run`] runs it.
pub struct Controller<R: Reconciler> {
    reconciler: Arc<R>,
    client: Client,
    select: Select,
    objects: Cache<R::Object>,
    observed: Observed,
    sources: Vec<BoxStream<'static, Signal>>,
    gates: Vec<Gate>,
    triggers: Vec<Trigger>,
    metrics: Metrics,
    recorder: Option<Recorder>,
    concurrency: usize,
    deadline: Duration,
    resync: Duration,
    grace: Duration,
    status_counts: bool,
}

impl<R: Reconciler> Controller<R> {
    /// A controller for every object of `R::Object`.
    pub fn new(reconciler: R, client: Client) -> Self {
        Self {
            reconciler: Arc::new(reconciler),
            client,
            select: Select::all(),
            objects: Cache::new(),
            observed: Observed::default(),
            sources: Vec::new(),
            gates: Vec::new(),
            triggers: Vec::new(),
            metrics: Metrics::default(),
            recorder: None,
            concurrency: CONCURRENCY,
            deadline: DEADLINE,
            resync: RESYNC,
            grace: GRACE,
            status_counts: false,
        }
    }

    /// Only some objects.
    #[must_use]
    pub fn select(mut self, select: Select) -> Self {
        self.select = select;
        self
    }

    /// Keeps the controller's own objects in this cache, for others to read.
    #[must_use]
    pub fn objects(mut self, cache: &Cache<R::Object>) -> Self {
        self.objects = cache.clone();
        self
    }

    /// Records what the `owns` watches see, for [`crate::Applier::observing`]. Call it before `owns`.
    #[must_use]
    pub fn observed(mut self, observed: &Observed) -> Self {
        self.observed = observed.clone();
        self
    }

    /// Reconciles the controller-owner of every child of kind `K` that carries the labels.
    ///
    /// Only metadata is watched. The owner is found by the owner reference with `controller: true`.
    #[must_use]
    pub fn owns<K: Object>(self, labels: &str) -> Self {
        let cache = Cache::new();
        self.observed.add::<K>(Some(labels.to_owned()), cache.clone());
        self.watched(Select::labels(labels), cache, |child: &PartialObjectMeta<K>| {
            owner::<R::Object>(&child.metadata).into()
        })
    }

    /// Reconciles what `map` says whenever an object of kind `K` changes; only its metadata is watched.
    ///
    /// For children in other namespaces, which cannot have owner references: map by labels.
    #[must_use]
    pub fn relates<K: Object>(
        self,
        select: Select,
        map: impl Fn(&ObjectMeta) -> Targets + Send + Sync + 'static,
    ) -> Self {
        let cache = Cache::new();
        if select.namespace.is_none() && select.fields.is_none() {
            self.observed.add::<K>(select.labels.clone(), cache.clone());
        }
        self.watched(select, cache, move |other: &PartialObjectMeta<K>| map(&other.metadata))
    }

    /// Keeps all objects of kind `K` in `cache` and reconciles what `map` says when one changes.
    ///
    /// No reconcile starts before the first complete list of `K` has arrived, so a
    /// reconciler never mistakes "not seen yet" for "not there".
    #[must_use]
    pub fn caches<K: Object>(
        mut self,
        select: Select,
        cache: &Cache<K>,
        map: impl Fn(&K) -> Targets + Send + Sync + 'static,
    ) -> Self {
        let gate = cache.clone();
        self.gates.push(Box::new(move || gate.is_synced()));
        self.watched(select, cache.clone(), map)
    }

    /// Also reconciles what this trigger asks for.
    #[must_use]
    pub fn triggered_by(mut self, trigger: &Trigger) -> Self {
        self.triggers.push(trigger.clone());
        self
    }

    /// Counts into these metrics.
    #[must_use]
    pub fn metrics(mut self, metrics: &Metrics) -> Self {
        self.metrics = metrics.clone();
        self
    }

    /// Publishes failures and undecodable objects as events.
    #[must_use]
    pub fn events(mut self, recorder: &Recorder) -> Self {
        self.recorder = Some(recorder.clone());
        self
    }

    /// Reconciles at once at most; 16 if not set.
    #[must_use]
    pub fn concurrency(mut self, reconciles: usize) -> Self {
        self.concurrency = reconciles.max(1);
        self
    }

    /// Deadline of one reconcile; 60 s if not set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Longest time until an object is looked at although nothing happened (±20 %); 10 min if not set.
    #[must_use]
    pub fn resync(mut self, resync: Duration) -> Self {
        self.resync = resync;
        self
    }

    /// How long running reconciles may go on after a stop was asked for; 5 s if not set.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = grace;
        self
    }

    /// Also reconciles when only the status of an object changed.
    ///
    /// Off by default: the status is the controller's own. Turn it on if others write into it.
    #[must_use]
    pub fn on_status_changes(mut self) -> Self {
        self.status_counts = true;
        self
    }

    /// Runs until `shutdown`, then lets running reconciles finish within the grace time.
    pub async fn run(self, shutdown: CancellationToken) {
        run::Runner::new(self).run(shutdown).await;
    }

    fn watched<K: Object>(
        mut self,
        select: Select,
        cache: Cache<K>,
        map: impl Fn(&K) -> Targets + Send + Sync + 'static,
    ) -> Self {
        let changes = watch::changes(self.client.clone(), select, cache);
        let kind = K::kind(&());
        let signals = changes.map(move |change| match change {
            Change::Applied(object) | Change::Deleted(object) => Signal::Targets(map(&object)),
            Change::Undecodable(bad) => {
                tracing::warn!(%kind, object = %bad.key(), error = bad.error, "object cannot be read");
                Signal::Targets(Targets::None)
            }
            // Not the objects, but the gate may have opened.
            Change::Synced => Signal::Targets(Targets::None),
            Change::Interrupted(_) => Signal::Interrupted,
        });
        self.sources.push(signals.boxed());
        self
    }
}

/// The controller-owner of kind `O` named in an object's metadata.
fn owner<O: Resource<DynamicType = ()>>(child: &ObjectMeta) -> Option<Key> {
    let group = O::group(&());
    let owns = |reference: &&OwnerReference| {
        reference.controller == Some(true)
            && reference.kind == O::kind(&())
            && reference.api_version.rsplit_once('/').map_or("", |(group, _)| group) == group
    };
    let reference = child.owner_references.iter().flatten().find(owns)?;
    Some(Key { namespace: child.namespace.as_deref().map(Into::into), name: reference.name.as_str().into() })
}
