//! Pure: what is said of the component.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionStatus, ConditionType};
use skep_api::{Cluster, ClusterStatus, NodePool};
use skep_controlplane::observe::{is_ready, trouble};

use super::Offer;

/// Pools that are named.
const NAMED: usize = 8;

/// How the component fares.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum State {
    /// This operator serves none.
    NotOffered,
    /// Its flags cannot be set.
    Refused(String),
    /// The API server does not answer yet.
    Waits,
    /// A pass failed.
    Failed(String),
    /// The server for it is not there.
    NotServed(String),
    /// There is no program.
    ImageUnavailable(String),
    /// The program fails.
    ProgramFails(String),
    /// The pod is on its way.
    Starting,
    /// Nothing to scale.
    NoPools(String),
    /// It works.
    Running(String),
}

/// How it fares, from what was seen.
pub(super) fn of(pods: &[Pod], pools: &[Arc<NodePool>], offer: &Offer, not_served: Option<&str>) -> State {
    if let Some(why) = not_served {
        return State::NotServed(why.to_owned());
    }
    let current = || pods.iter().filter(|pod| pod.metadata.deletion_timestamp.is_none());
    if let Some(trouble) = current().find_map(trouble) {
        return match trouble.reason {
            "ImageUnavailable" => State::ImageUnavailable(format!("{}; {}", trouble.message, remedy(offer))),
            _ => State::ProgramFails(trouble.message),
        };
    }
    if !current().any(is_ready) {
        return State::Starting;
    }
    let (scaled, left): (Vec<_>, Vec<_>) = pools.iter().partition(|pool| pool.spec.scaling.is_some());
    let alone = match left.is_empty() {
        true => String::new(),
        false => format!("; without spec.scaling and left alone: {}", names(&left)),
    };
    if scaled.is_empty() {
        return State::NoPools(format!("no node pool has bounds: set spec.scaling.min and max{alone}"));
    }
    State::Running(format!("it scales {}{alone}", names(&scaled)))
}

fn remedy(offer: &Offer) -> String {
    match offer.image.strip_prefix(&format!("{}/", skep_engine::REGISTRY)) {
        // The engine looks there before anything else, for any image.
        Some(image) => format!(
            "put upstream's program at {}/bin/cluster-autoscaler below a directory of SKEP_ENGINE_PATH, and start \
             `skep up` with it",
            image.replacen(':', "/", 1)
        ),
        None => {
            "bring it to where the nodes of the cell pull images, or name another with --autoscaler-image"
                .to_owned()
        }
    }
}

fn names(pools: &[&Arc<NodePool>]) -> String {
    let mut names: Vec<String> = pools.iter().map(|pool| pool.name_any()).collect();
    names.sort();
    let more = names.len().saturating_sub(NAMED);
    names.truncate(NAMED);
    let text = names.join(", ");
    if more == 0 { text } else { format!("{text} and {more} more") }
}

/// Our part of the status as it was and as it is to be.
pub(super) fn write(cluster: &Cluster, state: Option<State>) -> (ClusterStatus, ClusterStatus) {
    let all = cluster.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let old: Vec<_> = condition::get(all, ConditionType::AutoscalerReady).cloned().into_iter().collect();
    let mut new = Vec::new();
    if let Some(state) = state {
        let (status, reason, message) = words(state);
        let generation = cluster.metadata.generation;
        let now = Time(Timestamp::now());
        condition::set(&mut new, ConditionType::AutoscalerReady, status, reason, message, generation, &now);
    }
    let only = |conditions| ClusterStatus { conditions, ..ClusterStatus::default() };
    (only(old), only(new))
}

fn words(state: State) -> (ConditionStatus, &'static str, String) {
    use ConditionStatus::{False, True};
    match state {
        State::NotOffered => (
            False,
            "NotOffered",
            "this installation runs no autoscalers: its operator was started without --autoscaler-listen"
                .to_owned(),
        ),
        State::Refused(why) => (False, "FlagNotAllowed", why),
        State::Waits => (False, "WaitsForControlPlane", "the control plane is not ready yet".to_owned()),
        State::Failed(why) => (False, "InstallationFails", why),
        State::NotServed(why) => (False, "NotServed", format!("the operator does not serve it: {why}")),
        State::ImageUnavailable(why) => (False, "ImageUnavailable", why),
        State::ProgramFails(why) => (False, "ProgramFails", why),
        State::Starting => (False, "Starting", "cluster-autoscaler starts".to_owned()),
        State::NoPools(why) => (False, "NoPools", why),
        State::Running(what) => (True, "Running", what),
    }
}

#[cfg(test)]
mod tests;
