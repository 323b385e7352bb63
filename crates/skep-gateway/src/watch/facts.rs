//! The few fields of pods and control planes that decide about a route. Pure.

use std::net::{IpAddr, SocketAddr};

use kube::core::{Object, ObjectMeta};
use serde::Deserialize;
use skep_api::labels;

use super::key;
use crate::closing::Closing;
use crate::hello::ServerName;
use crate::routes::{ControlPlaneFact, PodFact};

/// Name of the container port that serves the API, if a pod names one.
const PORT_NAME: &str = "https";

pub(super) type ControlPlaneView = Object<ControlPlaneSpec, Nothing>;
pub(super) type PodView = Object<PodSpec, PodStatus>;

/// Ignores whatever is there.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Nothing {}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct ControlPlaneSpec {
    tenant: String,
    endpoint: Endpoint,
}

#[derive(Clone, Debug, Deserialize)]
struct Endpoint {
    host: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Container {
    ports: Vec<Port>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct PodStatus {
    #[serde(rename = "podIP")]
    pod_ip: Option<IpAddr>,
    conditions: Vec<Condition>,
}

#[derive(Clone, Debug, Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
}

/// What a control plane states; nothing if its host is none.
pub(super) fn control_plane(plane: &ControlPlaneView) -> Option<ControlPlaneFact> {
    let key = key(&plane.metadata);
    let Some(host) = ServerName::parse(plane.spec.endpoint.host.as_bytes()) else {
        tracing::warn!(namespace = key.namespace, name = key.name, "spec.endpoint.host is not a host name");
        return None;
    };
    let created = plane.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_second());
    Some(ControlPlaneFact { key, created, tenant: plane.spec.tenant.clone(), host: host.to_string() })
}

/// What a pod states; nothing if it belongs to no tenant.
pub(super) fn pod(pod: &PodView, default_port: u16) -> Option<PodFact> {
    let ObjectMeta { labels, uid, deletion_timestamp, .. } = &pod.metadata;
    let tenant = labels.as_ref()?.get(labels::TENANT)?.clone();
    let status = pod.status.as_ref();
    let ports = pod.spec.containers.iter().flat_map(|container| &container.ports);
    let port = ports
        .filter(|port| port.name.as_deref() == Some(PORT_NAME))
        .map(|port| port.container_port)
        .next()
        .unwrap_or(default_port);
    let is_ready = |c: &Condition| c.kind == "Ready" && c.status == "True";
    Some(PodFact {
        key: key(&pod.metadata),
        uid: uid.clone().unwrap_or_default(),
        tenant,
        address: status.and_then(|s| s.pod_ip).map(|ip| SocketAddr::new(ip, port)),
        ready: deletion_timestamp.is_none() && status.is_some_and(|s| s.conditions.iter().any(is_ready)),
        closing: closing(&pod.metadata),
    })
}

/// When a pod that is being deleted closes its connections, if it says so.
fn closing(metadata: &ObjectMeta) -> Option<Closing> {
    let deletion = metadata.deletion_timestamp.as_ref()?.0.as_second();
    let after_ms = metadata.annotations.as_ref()?.get(labels::CLOSES_AFTER)?;
    let closing = Closing::parse(deletion, metadata.deletion_grace_period_seconds.unwrap_or(0), after_ms);
    if closing.is_none() {
        let ObjectMeta { namespace, name, .. } = metadata;
        tracing::warn!(
            namespace,
            name,
            after_ms,
            annotation = labels::CLOSES_AFTER,
            "not a time: no answer is held"
        );
    }
    closing
}

#[cfg(test)]
mod tests;
