//! Pure: the manifests of a control plane.
//!
//! Guarantees: infallible, the same input gives the same bytes, and a pod's revision changes exactly when its pods have
//! to be replaced. Every flag set here is refused in `spec.*.flags` (a test compares the two lists).

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use skep_api::ControlPlane;
use skep_plan::flags::Program;
use skep_plan::network::Checked;

use crate::names;
use crate::pki::Data;

mod api_server;
mod controllers;
mod files;
mod guards;
mod pod;
mod probes;
mod workload;

pub use workload::Workload;

/// What a cell's operator knows that a `ControlPlane` does not say.
#[derive(Debug, Clone)]
pub struct CellSettings {
    /// URL of the gateway as pods of the cell reach it.
    pub gateway: String,
    /// PriorityClass of control plane pods, if the cell has one for them.
    pub priority_class: Option<String>,
}

/// Everything manifests are made from.
pub struct Inputs<'a> {
    /// The control plane.
    pub owner: &'a ControlPlane,
    /// Its address ranges, checked.
    pub ranges: Checked,
    /// Value of `--etcd-servers`.
    pub etcd_servers: &'a [String],
    /// Value of `--etcd-prefix`.
    pub etcd_prefix: &'a str,
    /// Digest of files each program reads only once.
    pub files: &'a BTreeMap<Program, String>,
    /// The cell.
    pub cell: &'a CellSettings,
}

/// All objects of a control plane but its Secrets.
#[derive(Debug, Clone)]
pub struct Manifests {
    /// Configuration files without secrets.
    pub config: ConfigMap,
    /// Who may talk to whom.
    pub policies: Vec<NetworkPolicy>,
    /// For programs with more than one copy.
    pub budgets: Vec<PodDisruptionBudget>,
    /// Deployments in the order they are rolled out.
    pub workloads: Vec<Workload>,
}

/// Builds them.
pub fn manifests(inputs: &Inputs<'_>) -> Manifests {
    let config = files::config(inputs);
    let workloads = vec![
        api_server::workload(inputs, &config),
        controllers::workload(inputs, Program::KubeControllerManager),
        controllers::workload(inputs, Program::KubeScheduler),
    ];
    Manifests {
        policies: guards::policies(inputs),
        budgets: workloads.iter().filter_map(|w| guards::budget(inputs.owner, w)).collect(),
        config,
        workloads,
    }
}

/// A Secret with this content.
pub fn secret(owner: &ControlPlane, name: &str, data: Data) -> Secret {
    Secret {
        metadata: names::meta(owner, name),
        type_: Some("Opaque".to_owned()),
        data: Some(data.into_map()),
        ..Secret::default()
    }
}

/// A Deployment's desired copies.
pub fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

#[cfg(test)]
mod tests;
