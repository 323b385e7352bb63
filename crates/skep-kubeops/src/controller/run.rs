//! The loop of a controller: one task for all watches and timers, one per running reconcile.

use std::{collections::HashMap, sync::Arc};

use futures::{
    StreamExt,
    future::BoxFuture,
    stream::{FuturesUnordered, SelectAll},
};
use kube::{Resource, ResourceExt};
use tokio::{
    task::{Id, JoinError, JoinSet},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Controller, REST, Signal, Targets, Trigger, filter::Filter, lag::Lag, queue::Queue, unreadable};
use crate::{
    Classify, ErrorClass, Key, Next, Reconciler,
    backoff::{Backoffs, jittered},
    events::Severity,
    watch::{self, Change},
};

/// How a reconcile ended.
enum End {
    Good(Next),
    Failed { class: ErrorClass, reason: &'static str, message: String },
}

struct Running<O> {
    key: Key,
    object: Arc<O>,
    since: Instant,
}

pub(super) struct Runner<R: Reconciler> {
    controller: Controller<R>,
    queue: Queue<Key>,
    filter: Filter,
    lag: Lag,
    backoffs: Backoffs<Key>,
    tasks: JoinSet<End>,
    running: HashMap<Id, Running<R::Object>>,
    /// Side work that has no object in the queue: what is told about undecodable ones.
    asides: JoinSet<()>,
    open: bool,
}

impl<R: Reconciler> Runner<R> {
    pub(super) fn new(controller: Controller<R>) -> Self {
        Self {
            queue: Queue::new(REST),
            filter: Filter::new(controller.status_counts),
            lag: Lag::default(),
            backoffs: Backoffs::default(),
            tasks: JoinSet::new(),
            running: HashMap::new(),
            asides: JoinSet::new(),
            open: false,
            controller,
        }
    }

    pub(super) async fn run(mut self, shutdown: CancellationToken) {
        let name = R::name();
        tracing::info!(controller = name, "controller starts");
        let mut own = watch::changes(
            self.controller.client.clone(),
            self.controller.select.clone(),
            self.controller.objects.clone(),
        );
        let mut others: SelectAll<_> = std::mem::take(&mut self.controller.sources).into_iter().collect();
        let triggers = std::mem::take(&mut self.controller.triggers);
        let mut triggered: FuturesUnordered<_> = triggers.into_iter().map(wait).collect();
        loop {
            self.start_ready();
            self.report();
            // With all slots taken what is due has to wait for a slot, not for the clock.
            let free = self.open && self.running.len() < self.controller.concurrency;
            let due = self.queue.next_due().filter(|_| free);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(change) = own.next() => self.own(change),
                Some(signal) = others.next(), if !others.is_empty() => match signal {
                    Signal::Targets(targets) => self.add(targets),
                    Signal::Interrupted => self.controller.metrics.interrupted(name),
                },
                Some((targets, trigger)) = triggered.next(), if !triggered.is_empty() => {
                    triggered.push(wait(trigger));
                    self.add(targets);
                }
                Some(ended) = self.tasks.join_next_with_id(), if !self.tasks.is_empty() => self.ended(ended),
                Some(_) = self.asides.join_next(), if !self.asides.is_empty() => {}
                () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {}
            }
        }
        self.stop().await;
        tracing::info!(controller = name, "controller stopped");
    }

    fn start_ready(&mut self) {
        if !self.open {
            self.open = self.controller.gates.iter().all(|gate| gate());
            if !self.open {
                return;
            }
        }
        while self.running.len() < self.controller.concurrency {
            let now = Instant::now();
            let Some(key) = self.queue.next(now) else { return };
            // A child or a trigger may name an object that is not there.
            let Some(object) = self.controller.objects.get(&key) else {
                self.queue.done(&key, now, None);
                continue;
            };
            let behind = self.controller.reconciler.is_behind(&object);
            match self.lag.wait(&key, behind, now) {
                Some(until) => self.queue.done(&key, now, Some(until)),
                None => self.start(key, object),
            }
        }
    }

    fn start(&mut self, key: Key, object: Arc<R::Object>) {
        let reconciler = Arc::clone(&self.controller.reconciler);
        let deadline = self.controller.deadline;
        let subject = Arc::clone(&object);
        let task = self.tasks.spawn(async move {
            match timeout(deadline, reconciler.reconcile(subject)).await {
                Ok(Ok(next)) => End::Good(next),
                Ok(Err(error)) => {
                    End::Failed { class: error.class(), reason: error.reason(), message: error.to_string() }
                }
                Err(_) => End::Failed {
                    class: ErrorClass::Transient,
                    reason: "DeadlineExceeded",
                    message: format!("not finished within {} s", deadline.as_secs()),
                },
            }
        });
        self.running.insert(task.id(), Running { key, object, since: Instant::now() });
    }

    fn own(&mut self, change: Change<R::Object>) {
        match change {
            Change::Applied(object) => {
                let key = Key::of(object.as_ref());
                let news = self.filter.is_news(&key, object.meta());
                if news {
                    // Whatever failed before, this is another object now.
                    self.backoffs.forget(&key);
                }
                if news || self.lag.has(&key) {
                    self.queue.add(key, Instant::now());
                }
            }
            Change::Deleted(object) => {
                let key = Key::of(object.as_ref());
                self.gone(&key);
                self.controller.reconciler.deleted(&key);
            }
            Change::Undecodable(bad) => {
                let key = bad.key();
                self.gone(&key);
                self.undecodable(key, *bad);
            }
            Change::Synced => {}
            Change::Interrupted(_) => self.controller.metrics.interrupted(R::name()),
        }
    }

    fn gone(&mut self, key: &Key) {
        self.queue.forget(key);
        self.filter.forget(key);
        self.lag.forget(key);
        self.backoffs.forget(key);
    }

    fn undecodable(&mut self, key: Key, bad: watch::Undecodable) {
        let controller = R::name();
        tracing::warn!(controller, object = %key, error = bad.error, "object cannot be read");
        self.controller.metrics.undecodable(controller);
        let message = format!("this version of skep cannot read {key}: {}; correct the object", bad.error);
        let version = bad.metadata.resource_version.clone();
        if let Some(recorder) = &self.controller.recorder {
            let about = watch::Guard::<R::Object>(Err(bad)).object_ref(&());
            recorder.publish_about(about, Severity::Warning, unreadable::REASON, "Decode", message.clone());
        }
        let client = self.controller.client.clone();
        let deadline = self.controller.deadline;
        self.asides.spawn(async move {
            let told =
                timeout(deadline, unreadable::tell::<R::Object>(&client, &key, version, message)).await;
            let failed = match told {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(_) => format!("no answer within {} s", deadline.as_secs()),
            };
            tracing::warn!(controller, object = %key, error = failed, "its condition could not be written");
        });
    }

    fn add(&mut self, targets: Targets) {
        let now = Instant::now();
        match targets {
            Targets::None => {}
            Targets::One(key) => self.queue.add(key, now),
            Targets::Many(keys) => keys.into_iter().for_each(|key| self.queue.add(key, now)),
            Targets::All => {
                self.controller.objects.keys().into_iter().for_each(|key| self.queue.add(key, now));
            }
        }
    }

    fn ended(&mut self, ended: Result<(Id, End), JoinError>) {
        let (id, end) = match ended {
            Ok((id, end)) => (id, end),
            Err(error) => {
                let end = End::Failed {
                    class: ErrorClass::Transient,
                    reason: "Panic",
                    message: "a defect of skep ended the reconcile; see the log".to_owned(),
                };
                (error.id(), end)
            }
        };
        let Some(run) = self.running.remove(&id) else { return };
        let name = R::name();
        let now = Instant::now();
        let (outcome, again) = match &end {
            End::Good(next) => {
                self.backoffs.forget(&run.key);
                match next {
                    Next::Done => ("done", jittered(self.controller.resync)),
                    Next::After(pause) => ("requeued", *pause),
                }
            }
            End::Failed { class: ErrorClass::Transient, .. } => ("transient", self.backoffs.failed(&run.key)),
            End::Failed { class: ErrorClass::Waiting(pause), .. } => ("waiting", *pause),
            End::Failed { class: ErrorClass::Permanent, .. } => {
                ("permanent", jittered(self.controller.resync))
            }
        };
        self.controller.metrics.finished(name, outcome, now - run.since);
        if let End::Failed { reason, message, class } = end {
            self.controller.metrics.failed(name, reason);
            self.complain(&run, class, reason, &message);
        }
        let exists = self.controller.objects.get(&run.key).is_some();
        if exists {
            self.queue.done(&run.key, now, Some(now + again));
        } else {
            self.backoffs.forget(&run.key);
            self.queue.done(&run.key, now, None);
        }
    }

    fn complain(&self, run: &Running<R::Object>, class: ErrorClass, reason: &'static str, message: &str) {
        let controller = R::name();
        if matches!(class, ErrorClass::Waiting(_)) {
            tracing::debug!(controller, object = %run.key, reason, message, "reconcile waits");
            return;
        }
        tracing::warn!(controller, object = %run.key, reason, message, "reconcile failed");
        if let Some(recorder) = &self.controller.recorder {
            recorder.publish(run.object.as_ref(), Severity::Warning, reason, "Reconcile", message);
        }
    }

    fn report(&self) {
        let objects = self.controller.objects.len();
        self.controller.metrics.levels(R::name(), self.queue.waiting(), self.running.len(), objects);
    }

    async fn stop(&mut self) {
        let finish = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(self.controller.grace, finish).await.is_err() {
            let names: Vec<_> = self.running.values().map(|run| run.object.name_any()).collect();
            tracing::warn!(controller = R::name(), objects = ?names, "reconciles did not finish in time; dropped");
        }
        self.tasks.shutdown().await;
        self.asides.shutdown().await;
    }
}

fn wait(trigger: Trigger) -> BoxFuture<'static, (Targets, Trigger)> {
    Box::pin(async move { (trigger.wait().await, trigger) })
}
