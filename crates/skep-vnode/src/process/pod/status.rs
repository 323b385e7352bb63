//! From the state of a container to its `ContainerStatus`. Pure but for reading cells.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
    ContainerStatus, ResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::Kind;
use super::record::Ended;
use super::slot::{Now, Slot, Waiting};
use crate::backend::PodUid;

/// Runtime part of container ids.
const RUNTIME: &str = "skep-process";

/// `skep-process://<pod>_<container>_<attempt>`.
pub(in super::super) fn container_id(pod: &PodUid, container: &str, attempt: u32) -> String {
    format!("{RUNTIME}://{pod}_{container}_{attempt}")
}

/// The status of one container. `default` is the reason for waiting when there is no better one.
pub(super) fn of(
    slot: &Slot,
    container: &Container,
    uid: &PodUid,
    default: &'static str,
    now: Timestamp,
) -> ContainerStatus {
    let mut status = ContainerStatus {
        name: slot.name.clone(),
        image: container.image.clone().unwrap_or_default(),
        restart_count: slot.restarts(),
        started: Some(false),
        ..ContainerStatus::default()
    };
    let waits = |waiting: Option<&Waiting>| {
        let (reason, message) = waiting.map_or((default, None), |w| w.shown(now));
        let waiting =
            ContainerStateWaiting { reason: Some(reason.into()), message: message.map(str::to_owned) };
        ContainerState { waiting: Some(waiting), ..ContainerState::default() }
    };
    let mut last = slot.last.as_ref();
    match &slot.now {
        Now::Idle => {
            status.state = Some(waits(slot.waiting.as_ref()));
            status.container_id = last.map(|e| container_id(uid, &slot.name, e.attempt));
        }
        Now::Busy { cell, .. } => match cell.running() {
            None => {
                status.state = Some(waits(None));
                status.container_id = last.map(|e| container_id(uid, &slot.name, e.attempt));
            }
            Some(running) => {
                let since = ContainerStateRunning { started_at: Some(Time(running.since)) };
                status.state = Some(ContainerState { running: Some(since), ..ContainerState::default() });
                status.container_id = Some(container_id(uid, &slot.name, cell.attempt));
                status.image_id = running.beside.image.id.clone();
                status.started = Some(running.started);
                // An ordinary init container is ready when it has ended well.
                status.ready = running.ready && running.started && slot.place.kind != Kind::Init;
                resources(&mut status, slot.resources.as_ref());
            }
        },
        Now::Ended(ended) => {
            status.container_id = Some(container_id(uid, &slot.name, ended.attempt));
            status.image_id = ended.image_id.clone();
            match &slot.waiting {
                Some(waiting) => {
                    status.state = Some(waits(Some(waiting)));
                    last = Some(ended);
                }
                None => {
                    status.state = Some(terminated(ended, uid, &slot.name));
                    status.ready = slot.place.kind == Kind::Init && ended.exit_code == 0;
                }
            }
        }
    }
    if status.image_id.is_empty() {
        status.image_id = last.map(|e| e.image_id.clone()).unwrap_or_default();
    }
    status.last_state = last.map(|ended| terminated(ended, uid, &slot.name));
    status
}

fn terminated(ended: &Ended, uid: &PodUid, name: &str) -> ContainerState {
    let state = ContainerStateTerminated {
        container_id: Some(container_id(uid, name, ended.attempt)),
        exit_code: ended.exit_code,
        finished_at: Some(Time(ended.finished_at)),
        message: ended.message.clone(),
        reason: Some(ended.reason.clone()),
        signal: None,
        started_at: ended.started_at.map(Time),
    };
    ContainerState { terminated: Some(state), ..ContainerState::default() }
}

/// What it has: with cgroups what holds, without what is accounted for.
fn resources(status: &mut ContainerStatus, resources: Option<&ResourceRequirements>) {
    let Some(resources) = resources.filter(|r| r.limits.is_some() || r.requests.is_some()) else { return };
    status.allocated_resources = resources.requests.clone();
    status.resources = Some(ResourceRequirements {
        limits: resources.limits.clone(),
        requests: resources.requests.clone(),
        claims: None,
    });
}
