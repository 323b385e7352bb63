//! Puts the parts of a pod's status together.

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, HostIP, Pod, PodCondition, PodIP, PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::conditions::{self, Verdict};
use super::phase::{Phase, phase};
use crate::backend::{PodLifecycle, PodRuntimeStatus, ResizeState};

/// Why the node gave a pod up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// `status.reason`: `OutOfcpu`, `DeadlineExceeded`, `Evicted` …
    pub reason: String,
    /// `status.message`, for people.
    pub message: String,
}

/// A change of resources that is not allowed to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResizePending {
    /// It can never fit this node; otherwise it waits until others make room.
    pub infeasible: bool,
    /// What is missing.
    pub message: String,
}

/// Everything the status depends on.
pub struct StatusInput<'a> {
    /// The pod; its `status` is not looked at.
    pub pod: &'a Pod,
    /// The status the API server has.
    pub old: &'a PodStatus,
    /// What the backend says; `None` before it knows the pod.
    pub runtime: Option<&'a PodRuntimeStatus>,
    /// Set when the node has given the pod up.
    pub failure: Option<&'a Failure>,
    /// Set while a resize waits.
    pub resize_pending: Option<&'a ResizePending>,
    /// The pod's address, once it has one.
    pub pod_ip: Option<IpAddr>,
    /// The node's address.
    pub host_ip: IpAddr,
    /// When the node took the pod.
    pub start_time: Timestamp,
    /// Now.
    pub now: Timestamp,
}

/// The status as it should be: everything of `old` that belongs to others, everything of ours anew.
///
/// A terminal phase is never left, and is entered only when nothing of the pod can run any more.
#[must_use]
pub fn build(input: &StatusInput<'_>) -> PodStatus {
    let nothing = PodSpec::default();
    let spec = input.pod.spec.as_ref().unwrap_or(&nothing);
    let generation = input.pod.metadata.generation;
    let old_phase = Phase::parse(input.old.phase.as_deref());
    let mut status = input.old.clone();
    status.host_ip = Some(input.host_ip.to_string());
    status.host_ips = Some(vec![HostIP { ip: input.host_ip.to_string() }]);
    status.observed_generation = generation;
    status.start_time.get_or_insert(Time(input.start_time));
    if let Some(runtime) = input.runtime {
        let ended = old_phase.is_terminal();
        let containers = |new: &[ContainerStatus], old: Option<&Vec<ContainerStatus>>| {
            let kept = old.filter(|_| ended).map(Vec::as_slice).unwrap_or_default();
            new.iter().map(|status| last_word(status, kept).clone()).collect::<Vec<_>>()
        };
        let init = containers(&runtime.init_container_statuses, input.old.init_container_statuses.as_ref());
        let main = containers(&runtime.container_statuses, input.old.container_statuses.as_ref());
        status.container_statuses = Some(main);
        status.init_container_statuses = (!init.is_empty()).then_some(init);
    }
    let ended_by_node =
        input.failure.is_some() || input.runtime.is_some_and(|runtime| runtime.eviction.is_some());
    let lifecycle = input.runtime.map(|runtime| runtime.lifecycle);
    let may_run =
        matches!(lifecycle, Some(PodLifecycle::Running | PodLifecycle::Stopping | PodLifecycle::Preparing));
    let stopped = lifecycle == Some(PodLifecycle::Stopped) || (ended_by_node && !may_run);
    let main = status.container_statuses.clone().unwrap_or_default();
    let init = status.init_container_statuses.clone().unwrap_or_default();
    let computed = phase(spec, &init, &main, stopped);

    let phase = if old_phase.is_terminal() {
        old_phase
    } else if ended_by_node && !may_run {
        Phase::Failed
    } else if stopped && !computed.is_terminal() {
        // Nothing will ever run again, so it cannot stay as it is.
        Phase::Failed
    } else if lifecycle == Some(PodLifecycle::Stopping) && computed.is_terminal() {
        old_phase
    } else {
        computed
    };
    status.phase = Some(phase.as_str().to_owned());
    if phase != old_phase {
        status.reason = None;
        status.message = None;
    }
    let eviction = input.runtime.and_then(|runtime| runtime.eviction.as_ref());
    if phase == Phase::Failed && !old_phase.is_terminal() {
        if let Some(failure) = input.failure {
            status.reason = Some(failure.reason.clone());
            status.message = Some(failure.message.clone());
        } else if let Some(eviction) = eviction {
            status.reason = Some(eviction.reason.to_owned());
            status.message = Some(eviction.message.clone());
        }
    }
    // A pod that was refused never had an address; one that has ended keeps what it had.
    if let Some(ip) = input.pod_ip {
        status.pod_ip = Some(ip.to_string());
        status.pod_ips = Some(vec![PodIP { ip: ip.to_string() }]);
    }

    let old_conditions = input.old.conditions.as_deref().unwrap_or_default();
    let ready_to_start = if input.runtime.is_some_and(|runtime| runtime.volumes_ready && !stopped) {
        Verdict::yes("PodReadyToStartContainers")
    } else {
        Verdict::no("PodReadyToStartContainers")
    };
    let containers = conditions::containers_ready(spec, &init, &main, phase);
    let mut verdicts = vec![
        ready_to_start,
        conditions::initialized(spec, &init, &main, phase),
        conditions::ready(spec, &containers, old_conditions),
        containers,
        Verdict::yes("PodScheduled"),
    ];
    if !phase.is_terminal() {
        verdicts.extend(resize_conditions(input));
    }
    let foreign = old_conditions.iter().filter(|condition| !conditions::owned(&condition.type_)).cloned();
    let own = verdicts.into_iter().map(|verdict| verdict.at(input.now, generation, old_conditions));
    status.conditions = Some(foreign.chain(own).collect::<Vec<PodCondition>>());
    status
}

/// In a pod that has ended, a container that ended stays so whatever the backend finds: the API server takes no way back.
fn last_word<'a>(new: &'a ContainerStatus, old: &'a [ContainerStatus]) -> &'a ContainerStatus {
    let ended =
        |status: &&ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
    if ended(&new) {
        return new;
    }
    old.iter().find(|known| known.name == new.name).filter(ended).unwrap_or(new)
}

/// `PodResizePending` and `PodResizeInProgress`, only while they are true.
fn resize_conditions(input: &StatusInput<'_>) -> impl Iterator<Item = Verdict> {
    let pending = input.resize_pending.map(|pending| {
        let reason = if pending.infeasible { "Infeasible" } else { "Deferred" };
        Verdict::yes("PodResizePending").because(reason).saying(&pending.message)
    });
    let progress = input.runtime.and_then(|runtime| match &runtime.resize {
        ResizeState::Done => None,
        ResizeState::InProgress => Some(Verdict::yes("PodResizeInProgress")),
        ResizeState::Failed(message) => {
            Some(Verdict::yes("PodResizeInProgress").because("Error").saying(message))
        }
    });
    pending.into_iter().chain(progress)
}

#[cfg(test)]
mod tests;
