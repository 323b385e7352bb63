//! One registry per process, and the figures every controller keeps.
//!
//! Labels come from closed sets (controller names, outcomes, error reasons):
//! never an object, a tenant or a message.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// Upper bounds of the reconcile histogram, in seconds.
const BUCKETS: [f64; 10] = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByController {
    controller: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByOutcome {
    controller: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByReason {
    controller: &'static str,
    reason: &'static str,
}

/// The process's metrics. Cheap to clone.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    reconciles: Family<ByOutcome, Counter>,
    errors: Family<ByReason, Counter>,
    durations: Family<ByController, Histogram, fn() -> Histogram>,
    queued: Family<ByController, Gauge>,
    running: Family<ByController, Gauge>,
    objects: Family<ByController, Gauge>,
    undecodable: Family<ByController, Counter>,
    interruptions: Family<ByController, Counter>,
    events_dropped: Counter,
    leader: Gauge,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with prefix `skep` and the figures of controllers in it.
    pub fn new() -> Self {
        let metrics = Self {
            registry: Arc::new(Mutex::new(Registry::with_prefix("skep"))),
            reconciles: Family::default(),
            errors: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            queued: Family::default(),
            running: Family::default(),
            objects: Family::default(),
            undecodable: Family::default(),
            interruptions: Family::default(),
            events_dropped: Counter::default(),
            leader: Gauge::default(),
        };
        metrics.register(|r| {
            r.register("reconciles", "Finished reconciles by outcome", metrics.reconciles.clone());
            r.register("reconcile_errors", "Failed reconciles by reason", metrics.errors.clone());
            r.register("reconcile_seconds", "Duration of reconciles", metrics.durations.clone());
            r.register("reconcile_queued", "Objects waiting to be reconciled", metrics.queued.clone());
            r.register("reconcile_running", "Reconciles running now", metrics.running.clone());
            r.register("objects", "Objects the controller is responsible for", metrics.objects.clone());
            r.register(
                "undecodable_objects",
                "Objects seen that cannot be read",
                metrics.undecodable.clone(),
            );
            r.register(
                "watch_interruptions",
                "Watches that had to be restarted",
                metrics.interruptions.clone(),
            );
            r.register("events_dropped", "Events not published", metrics.events_dropped.clone());
            r.register("leader", "1 while this process leads", metrics.leader.clone());
        });
        metrics
    }

    /// Adds a crate's own metrics; keep every label set bounded.
    pub fn register(&self, add: impl FnOnce(&mut Registry)) {
        add(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// All metrics in the OpenMetrics text format.
    ///
    /// # Errors
    /// A registered metric cannot be written; this is a defect of that metric.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner))?;
        Ok(text)
    }

    pub(crate) fn finished(&self, controller: &'static str, outcome: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ByOutcome { controller, outcome }).inc();
        self.durations.get_or_create(&ByController { controller }).observe(took.as_secs_f64());
    }

    pub(crate) fn failed(&self, controller: &'static str, reason: &'static str) {
        self.errors.get_or_create(&ByReason { controller, reason }).inc();
    }

    pub(crate) fn levels(&self, controller: &'static str, queued: usize, running: usize, objects: usize) {
        let label = ByController { controller };
        let set = |family: &Family<ByController, Gauge>, value: usize| {
            family.get_or_create(&label).set(i64::try_from(value).unwrap_or(i64::MAX));
        };
        set(&self.queued, queued);
        set(&self.running, running);
        set(&self.objects, objects);
    }

    pub(crate) fn undecodable(&self, controller: &'static str) {
        self.undecodable.get_or_create(&ByController { controller }).inc();
    }

    pub(crate) fn interrupted(&self, controller: &'static str) {
        self.interruptions.get_or_create(&ByController { controller }).inc();
    }

    pub(crate) fn event_dropped(&self) {
        self.events_dropped.inc();
    }

    pub(crate) fn leading(&self, leads: bool) {
        self.leader.set(i64::from(leads));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_encoded_with_their_labels() {
        let metrics = Metrics::new();
        metrics.finished("cluster", "ok", Duration::from_millis(30));
        metrics.failed("cluster", "Conflict");
        metrics.levels("cluster", 3, 1, 20);
        metrics.register(|r| r.register("extra", "Something of a crate", Counter::<u64>::default()));
        let text = metrics.encode().unwrap();
        for line in [
            r#"skep_reconciles_total{controller="cluster",outcome="ok"} 1"#,
            r#"skep_reconcile_errors_total{controller="cluster",reason="Conflict"} 1"#,
            r#"skep_reconcile_seconds_bucket{le="0.05",controller="cluster"} 1"#,
            r#"skep_reconcile_queued{controller="cluster"} 3"#,
            r#"skep_objects{controller="cluster"} 20"#,
            "skep_extra_total 0",
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
    }
}
