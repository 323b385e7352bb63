//! Figures about calls.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::{counter::Counter, family::Family, histogram::Histogram};
use skep_kubeops::Metrics;

/// Upper bounds in seconds; upstream's client gives up after 5.
const BUCKETS: [f64; 8] = [0.005, 0.02, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByCode {
    method: &'static str,
    code: i32,
}

/// Calls and how long they took.
#[derive(Clone)]
pub struct Figures {
    calls: Family<ByCode, Counter>,
    seconds: Histogram,
}

impl Figures {
    /// A place among the process's metrics.
    pub fn new(metrics: &Metrics) -> Self {
        let figures = Self { calls: Family::default(), seconds: Histogram::new(BUCKETS) };
        metrics.register(|registry| {
            let calls = figures.calls.clone();
            registry.register("autoscaler_calls", "Answered calls by method and gRPC status code", calls);
            let seconds = figures.seconds.clone();
            registry.register("autoscaler_call_seconds", "Time from a call to its answer", seconds);
        });
        figures
    }

    pub(crate) fn answered(&self, method: &'static str, code: tonic::Code, took: Duration) {
        self.calls.get_or_create(&ByCode { method, code: code.into() }).inc();
        self.seconds.observe(took.as_secs_f64());
    }
}
