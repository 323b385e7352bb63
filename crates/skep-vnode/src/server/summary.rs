//! `/stats/summary`: the part of the kubelet's summary that is about CPU and memory
//! (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`).

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::routes::Refusal;
use super::state::ServerState;
use crate::backend::{ContainerStats, PodStats};

pub async fn summary(State(state): State<Arc<ServerState>>) -> Result<Json<Value>, Refusal> {
    let unread = || (StatusCode::INTERNAL_SERVER_ERROR, "pod figures could not be read".to_owned());
    let stats = state.stats().await.ok_or_else(unread)?;
    let memory: u64 =
        stats.iter().flat_map(|pod| &pod.containers).map(|container| container.working_set).sum();
    let now = Timestamp::now();
    let nanoseconds = state.metrics.cpu().as_nanos();
    Ok(Json(json!({
        "node": {
            "nodeName": &*state.name,
            "startTime": state.started,
            "cpu": {"time": now, "usageCoreNanoSeconds": u64::try_from(nanoseconds).unwrap_or(u64::MAX)},
            "memory": {"time": now, "workingSetBytes": memory},
        },
        "pods": stats.iter().map(pod).collect::<Vec<_>>(),
    })))
}

fn pod(pod: &PodStats) -> Value {
    let cpu: u128 = pod.containers.iter().map(|container| container.cpu.as_nanos()).sum();
    let memory: u64 = pod.containers.iter().map(|container| container.working_set).sum();
    json!({
        "podRef": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid.as_str()},
        "startTime": pod.containers.iter().map(|container| container.started_at).min(),
        "containers": pod.containers.iter().map(|one| container(one, pod.taken_at)).collect::<Vec<_>>(),
        "cpu": {"time": pod.taken_at, "usageCoreNanoSeconds": u64::try_from(cpu).unwrap_or(u64::MAX)},
        "memory": {"time": pod.taken_at, "workingSetBytes": memory},
    })
}

fn container(container: &ContainerStats, at: Timestamp) -> Value {
    let cpu = u64::try_from(container.cpu.as_nanos()).unwrap_or(u64::MAX);
    json!({
        "name": container.name,
        "startTime": container.started_at,
        "cpu": {"time": at, "usageCoreNanoSeconds": cpu},
        "memory": {"time": at, "workingSetBytes": container.working_set, "rssBytes": container.rss},
        "processes": container.processes,
    })
}
