//! Why a pod is not ready, in the words of whoever knows.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod};
use kube::ResourceExt as _;

/// Lines of a program's last words that are passed on.
const LINES: usize = 6;
/// Characters of it.
const CHARS: usize = 1024;

/// A closed set of reasons with a message for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Condition reason.
    pub reason: &'static str,
    /// Which pod, what happened, what the program said.
    pub message: String,
}

/// Of a pod that is not ready; `None` while it is merely starting.
pub(super) fn of_pod(pod: &Pod) -> Option<Trouble> {
    let name = pod.name_any();
    let status = pod.status.as_ref()?;
    let containers = status.container_statuses.iter().flatten();
    containers.filter_map(|container| of_container(&name, container)).next().or_else(|| {
        let unscheduled =
            |c: &&k8s_openapi::api::core::v1::PodCondition| c.type_ == "PodScheduled" && c.status == "False";
        let condition = status.conditions.iter().flatten().find(unscheduled)?;
        let why = condition.message.as_deref().or(condition.reason.as_deref()).unwrap_or("no reason given");
        let message =
            format!("pod {name} finds no node: {}; add capacity or choose a smaller size class", tail(why));
        Some(Trouble { reason: "NotScheduled", message })
    })
}

/// Of a Deployment whose pods are refused before they exist.
pub(super) fn of_deployment(deployment: &Deployment) -> Option<Trouble> {
    let conditions = deployment.status.as_ref()?.conditions.as_ref()?;
    let failure = conditions.iter().find(|c| c.type_ == "ReplicaFailure" && c.status == "True")?;
    let why = failure.message.as_deref().or(failure.reason.as_deref()).unwrap_or("no reason given");
    let message = format!("pods of {} are refused: {}", deployment.name_any(), tail(why));
    Some(Trouble { reason: "PodsRefused", message })
}

fn of_container(pod: &str, container: &ContainerStatus) -> Option<Trouble> {
    let state = container.state.as_ref();
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let ended = state
        .and_then(|state| state.terminated.as_ref())
        .or_else(|| container.last_state.as_ref().and_then(|state| state.terminated.as_ref()));
    let reason = waiting.and_then(|waiting| waiting.reason.as_deref()).unwrap_or_default();
    if reason.contains("Image") {
        let why = waiting.and_then(|waiting| waiting.message.as_deref()).unwrap_or(reason);
        let message = format!("pod {pod} has no image {}: {}", container.image, tail(why));
        return Some(Trouble { reason: "ImageUnavailable", message });
    }
    if let Some(ended) = ended {
        let message = format!(
            "pod {pod}: {} does not stay up (started {} times): {}",
            container.name,
            container.restart_count + 1,
            last_words(ended)
        );
        return Some(Trouble { reason: "ProgramFails", message });
    }
    // Everything else a container waits for before its first start passes by itself or carries a message.
    let why =
        waiting.and_then(|waiting| waiting.message.as_deref()).filter(|_| reason != "ContainerCreating")?;
    let message = format!("pod {pod}: {} cannot be started: {reason}: {}", container.name, tail(why));
    Some(Trouble { reason: "ProgramFails", message })
}

fn last_words(ended: &ContainerStateTerminated) -> String {
    let how = match ended.signal {
        Some(signal) if signal != 0 => format!("ended by signal {signal}"),
        _ => format!("exit code {}", ended.exit_code),
    };
    let why = ended.message.as_deref().map(tail).filter(|text| !text.is_empty());
    let cause = ended.reason.as_deref().filter(|reason| *reason == "OOMKilled");
    match (why, cause) {
        (Some(why), _) => format!("{how}: {why}"),
        (None, Some(_)) => format!("{how}: out of memory; choose a larger size class"),
        (None, None) => how,
    }
}

/// The last lines of a text, bounded, without control characters.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let kept = lines[lines.len().saturating_sub(LINES)..].join(" | ");
    let clean: Vec<char> = kept.chars().filter(|c| !c.is_control()).collect();
    clean[clean.len().saturating_sub(CHARS)..].iter().collect()
}
