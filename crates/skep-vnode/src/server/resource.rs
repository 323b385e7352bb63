//! `/metrics/resource`: what metrics-server reads. Names and labels are the kubelet's
//! (`pkg/kubelet/metrics/collectors/resource_metrics.go`).
//!
//! Several virtual nodes share one machine, so a node's figures are those of its pods, not of the machine.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use jiff::Timestamp;

use super::state::ServerState;
use super::text::{CONTENT_TYPE, Exposition};
use crate::backend::PodStats;

pub async fn resource(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    let stats = state.stats().await;
    let text =
        expose(stats.as_deref().map(Vec::as_slice), state.metrics.cpu().as_secs_f64(), Timestamp::now());
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], text)
}

/// CPU seconds and bytes of a pod.
fn total(pod: &PodStats) -> (f64, f64) {
    let cpu = pod.containers.iter().map(|container| container.cpu.as_secs_f64()).sum();
    let memory = pod.containers.iter().map(|container| container.working_set as f64).sum();
    (cpu, memory)
}

fn expose(stats: Option<&[PodStats]>, node_cpu: f64, now: Timestamp) -> String {
    let mut out = Exposition::default();
    let failed = f64::from(u8::from(stats.is_none()));
    let pods = stats.unwrap_or_default();
    let now = Some(now.as_millisecond());
    if stats.is_some() {
        let memory = pods.iter().map(|pod| total(pod).1).sum();
        out.family(
            "node_cpu_usage_seconds_total",
            "counter",
            "Cumulative cpu time consumed by the node in core-seconds",
        );
        out.sample("node_cpu_usage_seconds_total", &[], node_cpu, now);
        out.family("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes");
        out.sample("node_memory_working_set_bytes", &[], memory, now);
    }
    let containers = || {
        pods.iter().flat_map(|pod| {
            pod.containers.iter().map(move |container| {
                let labels = [
                    ("container", container.name.as_str()),
                    ("namespace", &pod.namespace),
                    ("pod", &pod.name),
                ];
                (container, labels, Some(pod.taken_at.as_millisecond()))
            })
        })
    };
    out.family(
        "container_start_time_seconds",
        "gauge",
        "Start time of the container since unix epoch in seconds",
    );
    for (container, labels, _) in containers() {
        let started = container.started_at.as_millisecond() as f64 / 1000.0;
        out.sample("container_start_time_seconds", &labels, started, None);
    }
    let name = "container_cpu_usage_seconds_total";
    out.family(name, "counter", "Cumulative cpu time consumed by the container in core-seconds");
    for (container, labels, at) in containers() {
        out.sample(name, &labels, container.cpu.as_secs_f64(), at);
    }
    let name = "container_memory_working_set_bytes";
    out.family(name, "gauge", "Current working set of the container in bytes");
    for (container, labels, at) in containers() {
        out.sample(name, &labels, container.working_set as f64, at);
    }
    let name = "pod_cpu_usage_seconds_total";
    out.family(name, "counter", "Cumulative cpu time consumed by the pod in core-seconds");
    for pod in pods {
        let labels = [("namespace", pod.namespace.as_str()), ("pod", &pod.name)];
        out.sample(name, &labels, total(pod).0, Some(pod.taken_at.as_millisecond()));
    }
    let name = "pod_memory_working_set_bytes";
    out.family(name, "gauge", "Current working set of the pod in bytes");
    for pod in pods {
        let labels = [("namespace", pod.namespace.as_str()), ("pod", &pod.name)];
        out.sample(name, &labels, total(pod).1, Some(pod.taken_at.as_millisecond()));
    }
    for name in ["scrape_error", "resource_scrape_error"] {
        out.family(name, "gauge", "1 if there was an error while getting container metrics, 0 otherwise");
        out.sample(name, &[], failed, None);
    }
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{ContainerStats, PodUid};
    use std::time::Duration;

    #[test]
    fn the_families_metrics_server_looks_for() {
        let container = |name: &str, cpu, working_set| ContainerStats {
            name: name.into(),
            started_at: Timestamp::from_second(1_700_000_000).unwrap(),
            cpu: Duration::from_millis(cpu),
            working_set,
            rss: 0,
            processes: 1,
        };
        let pod = PodStats {
            uid: PodUid::parse("u").unwrap(),
            namespace: "n".into(),
            name: "p".into(),
            taken_at: Timestamp::from_second(1_700_000_100).unwrap(),
            containers: vec![container("a", 1500, 100), container("b", 500, 50)],
        };
        let text = expose(Some(&[pod]), 2.0, Timestamp::from_second(1_700_000_101).unwrap());
        for line in [
            "node_cpu_usage_seconds_total 2 1700000101000",
            "node_memory_working_set_bytes 150 1700000101000",
            "container_cpu_usage_seconds_total{container=\"a\",namespace=\"n\",pod=\"p\"} 1.5 1700000100000",
            "container_memory_working_set_bytes{container=\"b\",namespace=\"n\",pod=\"p\"} 50 1700000100000",
            "pod_cpu_usage_seconds_total{namespace=\"n\",pod=\"p\"} 2 1700000100000",
            "pod_memory_working_set_bytes{namespace=\"n\",pod=\"p\"} 150 1700000100000",
            "container_start_time_seconds{container=\"a\",namespace=\"n\",pod=\"p\"} 1700000000",
            "scrape_error 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nin\n{text}");
        }
        assert!(expose(None, 0.0, Timestamp::UNIX_EPOCH).contains("scrape_error 1\n"));
    }
}
