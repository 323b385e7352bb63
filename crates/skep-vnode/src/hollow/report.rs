//! What the API is told of a hollow pod. Pure; phases, conditions and patches are those of every other backend.

use std::net::{IpAddr, Ipv4Addr};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    PodStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::fate::START_FAILED;
use super::life::{Cell, Life, Millis, Run, Stage, Stop};
use super::spec::{Part, Spec};
use crate::backend::{PodLifecycle, PodRuntimeStatus, ResizeState};
use crate::pods::status::{Failure, StatusInput, build, patch};

/// A pod and its place.
pub struct Subject<'a> {
    /// Its uid.
    pub uid: &'a str,
    /// Its `metadata.generation`.
    pub generation: Option<i64>,
    /// What it should run.
    pub spec: &'a Spec,
    /// What it does.
    pub life: &'a Life,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its node's.
    pub host: Ipv4Addr,
}

/// The patch from the status that the API has to the one it should have, `None` when it has it.
///
/// # Errors
/// When a status cannot be written as JSON, which none from here does.
pub fn changes(pod: &Subject<'_>, old: &PodStatus, now: Millis) -> Result<Option<Value>, serde_json::Error> {
    patch(old, &status(pod, old, now), pod.uid)
}

/// The status that the pod has at `now`.
pub fn status(pod: &Subject<'_>, old: &PodStatus, now: Millis) -> PodStatus {
    let runtime = runtime(pod, now);
    let failure = Failure {
        reason: "DeadlineExceeded".to_owned(),
        message: "Pod was active on the node longer than the specified deadline".to_owned(),
    };
    build(&StatusInput {
        pod: &pod.spec.pod(pod.generation),
        old,
        runtime: Some(&runtime),
        failure: (pod.life.stopped() == Some(Stop::Deadline)).then_some(&failure),
        resize_pending: None,
        pod_ip: Some(IpAddr::V4(pod.address)),
        host_ip: IpAddr::V4(pod.host),
        start_time: time(pod.life.began()),
        now: time(now),
    })
}

fn runtime(pod: &Subject<'_>, now: Millis) -> PodRuntimeStatus {
    let Subject { spec, life, .. } = pod;
    let lifecycle = match (life.stopped(), life.runs()) {
        (None, _) => PodLifecycle::Running,
        (Some(_), true) => PodLifecycle::Stopping,
        (Some(_), false) => PodLifecycle::Stopped,
    };
    let inits = spec.inits();
    let parts = spec.parts().zip(life.cells()).enumerate();
    let mut statuses: Vec<_> =
        parts.map(|(index, (part, cell))| container(pod, index, part, cell, now)).collect();
    let container_statuses = statuses.split_off(inits.min(statuses.len()));
    PodRuntimeStatus {
        observed_generation: pod.generation,
        lifecycle,
        volumes_ready: true,
        init_container_statuses: statuses,
        container_statuses,
        eviction: None,
        resize: ResizeState::Done,
    }
}

fn container(pod: &Subject<'_>, index: usize, part: &Part, cell: &Cell, now: Millis) -> ContainerStatus {
    let is_init = index < pod.spec.inits();
    let id = |restarts: u32| format!("hollow://{}/{}/{restarts}", pod.uid, part.name);
    let ran = cell.runs() || matches!(cell.stage, Stage::Ended(_));
    let previous = cell.restarts.saturating_sub(u32::from(!matches!(cell.stage, Stage::Waiting { .. })));
    let (started, ready) = match cell.stage {
        Stage::Running { ready, .. } => (true, ready.is_some_and(|ready| ready <= now)),
        // An init container that has done its work counts as ready.
        Stage::Ended(run) => (false, is_init && run.code == 0),
        _ => (false, false),
    };
    let state = match cell.stage {
        Stage::Warming { since, .. } | Stage::Running { since, .. } => ContainerState {
            running: Some(ContainerStateRunning { started_at: Some(Time(time(since))) }),
            ..ContainerState::default()
        },
        Stage::Ended(run) => terminated(run, id(cell.restarts)),
        Stage::Waiting { .. } => waiting("CrashLoopBackOff", &back_off(pod, part, cell)),
        Stage::Idle | Stage::Never if !is_init && pod.spec.inits() > 0 => waiting("PodInitializing", ""),
        Stage::Idle if is_init => waiting("PodInitializing", ""),
        _ => waiting("ContainerCreating", ""),
    };
    ContainerStatus {
        name: part.name.clone(),
        image: part.image.clone(),
        image_id: if ran { format!("hollow://{}", part.image) } else { String::new() },
        container_id: ran.then(|| id(cell.restarts)),
        ready,
        started: Some(started),
        restart_count: i32::try_from(cell.restarts).unwrap_or(i32::MAX),
        state: Some(state),
        last_state: cell.last.map(|run| terminated(run, id(previous))),
        ..ContainerStatus::default()
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    let message = (!message.is_empty()).then(|| message.to_owned());
    let waiting = ContainerStateWaiting { reason: Some(reason.to_owned()), message };
    ContainerState { waiting: Some(waiting), ..ContainerState::default() }
}

fn back_off(pod: &Subject<'_>, part: &Part, cell: &Cell) -> String {
    let Stage::Waiting { until } = cell.stage else { return String::new() };
    let ended = cell.last.map_or(until, |run| run.ended);
    format!("back-off {}s restarting failed container={} pod={}", (until - ended) / 1000, part.name, pod.uid)
}

fn terminated(run: Run, id: String) -> ContainerState {
    let reason = match run.code {
        0 => "Completed",
        START_FAILED if run.began == run.ended => "StartError",
        _ => "Error",
    };
    let ended = ContainerStateTerminated {
        exit_code: run.code,
        reason: Some(reason.to_owned()),
        started_at: Some(Time(time(run.began))),
        finished_at: Some(Time(time(run.ended))),
        container_id: Some(id),
        ..ContainerStateTerminated::default()
    };
    ContainerState { terminated: Some(ended), ..ContainerState::default() }
}

/// The API keeps whole seconds; anything finer would differ from what comes back for ever.
pub fn time(at: Millis) -> Timestamp {
    Timestamp::from_second(at.div_euclid(1000)).unwrap_or(Timestamp::UNIX_EPOCH)
}
