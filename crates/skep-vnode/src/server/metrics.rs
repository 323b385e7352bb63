//! `/metrics`: the node's own counters, and the CPU total that outlives its containers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;

use super::state::ServerState;
use super::text::{CONTENT_TYPE, Exposition};
use crate::backend::{PodStats, PodUid};

/// Counters of one node.
#[derive(Default)]
pub struct NodeMetrics {
    /// Beats of the node's lease and status that failed.
    pub failed_beats: AtomicU64,
    cpu: Mutex<CpuTotal>,
}

#[derive(Default)]
struct CpuTotal {
    /// Of containers that have ended.
    ended: Duration,
    /// Last figure of each run of each container, by pod, container and start in milliseconds.
    running: HashMap<(PodUid, String, i64), Duration>,
}

impl NodeMetrics {
    /// Takes new figures into the node's total, which must never fall although containers come and go.
    pub(super) fn count_cpu(&self, stats: &[PodStats]) {
        let mut cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        let mut before = std::mem::take(&mut cpu.running);
        for pod in stats {
            for container in &pod.containers {
                let key = (pod.uid.clone(), container.name.clone(), container.started_at.as_millisecond());
                let known = before.remove(&key).unwrap_or_default();
                let figure = cpu.running.entry(key).or_default();
                *figure = (*figure).max(known).max(container.cpu);
            }
        }
        cpu.ended += before.into_values().sum::<Duration>();
    }

    /// CPU time of all containers of this node since it was first asked.
    #[must_use]
    pub fn cpu(&self) -> Duration {
        let cpu = self.cpu.lock().unwrap_or_else(PoisonError::into_inner);
        cpu.ended + cpu.running.values().sum::<Duration>()
    }
}

pub async fn metrics(State(state): State<Arc<ServerState>>) -> impl IntoResponse {
    let rows = state.pods.all();
    let mut by_state = [("running", 0_u32), ("exited", 0), ("created", 0)];
    let mut running_pods = 0_u32;
    for row in &rows {
        let statuses =
            row.status.container_statuses.iter().chain(&row.status.init_container_statuses).flatten();
        let mut any = false;
        for state in statuses.filter_map(|status| status.state.as_ref()) {
            let place = match (&state.running, &state.terminated) {
                (Some(_), _) => 0,
                (None, Some(_)) => 1,
                (None, None) => 2,
            };
            any |= place == 0;
            by_state[place].1 += 1;
        }
        running_pods += u32::from(any);
    }
    let mut out = Exposition::default();
    out.family("kubelet_node_name", "gauge", "The node's name. The count is always 1.");
    out.sample("kubelet_node_name", &[("node", &state.name)], 1.0, None);
    out.family("kubelet_running_pods", "gauge", "Number of pods that have a running container");
    out.sample("kubelet_running_pods", &[], f64::from(running_pods), None);
    out.family("kubelet_running_containers", "gauge", "Number of containers by state");
    for (name, count) in by_state {
        out.sample("kubelet_running_containers", &[("container_state", name)], f64::from(count), None);
    }
    out.family("skep_vnode_pods", "gauge", "Pods the API server has for this node");
    out.sample("skep_vnode_pods", &[], rows.len() as f64, None);
    let free = super::state::STREAMS.saturating_sub(state.streams.available_permits());
    out.family(
        "skep_vnode_streams",
        "gauge",
        "Commands, forwarded connections and followed logs that are open",
    );
    out.sample("skep_vnode_streams", &[], free as f64, None);
    let failed = state.metrics.failed_beats.load(Ordering::Relaxed);
    out.family("skep_vnode_failed_beats_total", "counter", "Renewals of lease or status that failed");
    out.sample("skep_vnode_failed_beats_total", &[], failed as f64, None);
    out.family("skep_vnode_backend_events_dropped_total", "counter", "Events of the backend that were lost");
    out.sample("skep_vnode_backend_events_dropped_total", &[], state.backend.events().dropped() as f64, None);
    ([(header::CONTENT_TYPE, CONTENT_TYPE)], out.finish())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::ContainerStats;
    use jiff::Timestamp;
    use proptest::prelude::*;

    fn stats(figures: &[(u8, i64, u64)]) -> Vec<PodStats> {
        let container = |(_, started, cpu): &(u8, i64, u64)| ContainerStats {
            name: "c".into(),
            started_at: Timestamp::from_second(*started).unwrap(),
            cpu: Duration::from_millis(*cpu),
            working_set: 0,
            rss: 0,
            processes: 1,
        };
        let pod = |figure: &(u8, i64, u64)| PodStats {
            uid: PodUid::parse(&format!("u{}", figure.0)).unwrap(),
            namespace: "n".into(),
            name: "p".into(),
            taken_at: Timestamp::UNIX_EPOCH,
            containers: vec![container(figure)],
        };
        figures.iter().map(pod).collect()
    }

    #[test]
    fn ended_containers_stay_in_the_total() {
        let metrics = NodeMetrics::default();
        metrics.count_cpu(&stats(&[(1, 10, 500), (2, 10, 100)]));
        metrics.count_cpu(&stats(&[(1, 20, 50), (2, 10, 150)]));
        assert_eq!(metrics.cpu(), Duration::from_millis(500 + 50 + 150));
    }

    proptest! {
        #[test]
        fn the_total_never_falls(steps in prop::collection::vec(
            prop::collection::vec((0_u8..4, 0_i64..3, 0_u64..1000), 0..5), 1..20)) {
            let (metrics, mut last) = (NodeMetrics::default(), Duration::ZERO);
            for step in steps {
                metrics.count_cpu(&stats(&step));
                prop_assert!(metrics.cpu() >= last);
                last = metrics.cpu();
            }
        }
    }
}
