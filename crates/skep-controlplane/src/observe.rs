//! Pure: what the pods of a control plane say.
//!
//! Pods are asked directly, not their Deployments: a pod knows its readiness a controller's round trip earlier, and only
//! a pod knows why its program does not start. A pod is as wanted when it carries the wanted revision; one that is being
//! deleted does not count at all, because the gateway sends it nothing new.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use skep_api::{KubeVersion, labels};
use skep_plan::flags::Program;
use skep_plan::rollout::Copy;

use crate::build::Workload;
use crate::names;

mod trouble;

pub use trouble::Trouble;

/// The copies of one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copies {
    /// The program.
    pub program: Program,
    /// How many there should be.
    pub wanted: usize,
    /// Pods of the wanted revision that are ready.
    pub ready: usize,
    /// Pods of another revision.
    pub old: usize,
    /// Pods of another revision that are ready.
    pub old_ready: usize,
    /// Why a pod of the wanted revision is not ready, if it says so.
    pub trouble: Option<Trouble>,
}

impl Copies {
    /// Whether everything is as wanted.
    pub fn settled(&self) -> bool {
        self.ready >= self.wanted && self.old == 0
    }

    /// Copies that work, of whatever revision.
    pub fn working(&self) -> usize {
        self.ready + self.old_ready
    }
}

/// The copies of a workload among all pods of the tenant.
pub fn copies(workload: &Workload, pods: &[Pod], deployments: &[Deployment]) -> Copies {
    let own = || alive(pods, workload.program);
    let wanted = |pod: &&Pod| label(pod, names::REVISION_LABEL) == Some(&workload.revision);
    let old = || own().filter(|pod| !wanted(pod));
    let ready = own().filter(wanted).filter(|pod| is_ready(pod)).count();
    let deployment = deployments.iter().find(|d| d.name_any() == workload.program.name());
    let trouble = own()
        .filter(wanted)
        .filter(|pod| !is_ready(pod))
        .find_map(trouble::of_pod)
        .or_else(|| deployment.and_then(trouble::of_deployment));
    Copies {
        program: workload.program,
        wanted: usize::try_from(workload.replicas).unwrap_or(0),
        ready,
        old: old().count(),
        old_ready: old().filter(|pod| is_ready(pod)).count(),
        trouble,
    }
}

/// The copies of kube-apiserver with their versions, as the order of a rollout is decided on.
pub fn api_servers(pods: &[Pod]) -> Vec<Copy> {
    alive(pods, Program::KubeApiserver)
        .filter_map(|pod| {
            let version: KubeVersion = label(pod, names::VERSION_LABEL)?.parse().ok()?;
            Some(Copy { version, ready: is_ready(pod) })
        })
        .collect()
}

/// The version a program's Deployment was last applied with.
pub fn applied_version(program: Program, deployments: &[Deployment]) -> Option<KubeVersion> {
    let deployment = deployments.iter().find(|d| d.name_any() == program.name())?;
    deployment.labels().get(names::VERSION_LABEL)?.parse().ok()
}

/// Why a pod is not ready; `None` when it is, or is merely starting.
pub fn trouble(pod: &Pod) -> Option<Trouble> {
    if is_ready(pod) { None } else { trouble::of_pod(pod) }
}

fn alive(pods: &[Pod], program: Program) -> impl Iterator<Item = &Pod> {
    pods.iter().filter(move |pod| {
        label(pod, labels::COMPONENT).is_some_and(|component| component == program.name())
            && pod.metadata.deletion_timestamp.is_none()
    })
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|c| c.type_ == "Ready" && c.status == "True")
}

fn label<'a>(pod: &'a Pod, key: &str) -> Option<&'a String> {
    pod.metadata.labels.as_ref().and_then(|labels| labels.get(key))
}

#[cfg(test)]
mod tests;
