//! The Deployment around a pod, and the revision by which its pods are recognised.

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skep_api::{ControlPlane, labels};
use skep_plan::flags::Program;

use super::Inputs;
use super::pod::{self, Parts};
use crate::names;
use crate::pki::digest;

/// How old copies make way.
pub(super) enum Replace {
    /// A new copy serves before an old one goes.
    SurgeFirst,
    /// The old one is gone before the new one starts: two of them would work against each other.
    StopFirst,
}

/// A program's Deployment, with what a pass compares pods to.
#[derive(Debug, Clone)]
pub struct Workload {
    /// The program.
    pub program: Program,
    /// Copies.
    pub replicas: i32,
    /// Value of [`names::REVISION_LABEL`] on pods that are as wanted.
    pub revision: String,
    /// The Deployment.
    pub deployment: Deployment,
}

/// Annotations of a pod.
pub(super) type Annotations<'a> = Vec<(&'a str, String)>;

/// Wraps the pod described by `parts`.
pub(super) fn workload(
    inputs: &Inputs<'_>,
    replicas: i32,
    replace: Replace,
    annotations: Annotations<'_>,
    parts: Parts<'_>,
) -> Workload {
    let owner = inputs.owner;
    let program = parts.program;
    let pod = pod::spec(inputs, parts);
    let mut meta = ObjectMeta {
        labels: Some(pod_labels(owner, program)),
        annotations: Some(annotations.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        ..ObjectMeta::default()
    };
    let text = |value: serde_json::Result<String>| value.unwrap_or_default();
    // Two structs of strings and numbers always serialise; the digest of nothing would only roll once too often.
    let revision = digest(&[&text(serde_json::to_string(&meta)), &text(serde_json::to_string(&pod))]);
    meta.labels.get_or_insert_default().insert(names::REVISION_LABEL.to_owned(), revision.clone());
    let deployment = Deployment {
        metadata: ObjectMeta {
            labels: Some(pod_labels(owner, program)),
            ..names::meta(owner, program.name())
        },
        spec: Some(DeploymentSpec {
            replicas: Some(replicas),
            selector: names::selector(&owner.spec.tenant, program),
            // Nothing is ever rolled back to an old ReplicaSet: the spec says what to run.
            revision_history_limit: Some(0),
            strategy: Some(strategy(&replace)),
            template: PodTemplateSpec { metadata: Some(meta), spec: Some(pod) },
            ..DeploymentSpec::default()
        }),
        status: None,
    };
    Workload { program, replicas, revision, deployment }
}

fn pod_labels(owner: &ControlPlane, program: Program) -> std::collections::BTreeMap<String, String> {
    let mut labels = names::common(owner);
    labels.insert(labels::COMPONENT.to_owned(), program.name().to_owned());
    labels.insert(names::VERSION_LABEL.to_owned(), owner.spec.version.clone());
    labels
}

fn strategy(replace: &Replace) -> DeploymentStrategy {
    match replace {
        Replace::SurgeFirst => DeploymentStrategy {
            type_: Some("RollingUpdate".to_owned()),
            rolling_update: Some(RollingUpdateDeployment {
                max_surge: Some(IntOrString::Int(1)),
                max_unavailable: Some(IntOrString::Int(0)),
            }),
        },
        Replace::StopFirst => DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None },
    }
}
