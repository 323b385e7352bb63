//! cluster-autoscaler as a component of clusters: it runs beside the control plane, and this process serves it.
//!
//! ```text
//! cell, namespace of the tenant                                      this process
//!   pod cluster-autoscaler ── kubeconfig of a narrow role ──► gateway ──► the tenant's API server
//!     ├─ cluster-autoscaler ──mTLS──────────────────────────► provider ──┐  tenant by the certificate
//!     └─ relay ◄──TLS── (expander)    relay ──mTLS──────────► expander ──┴► that tenant's NodePools
//! ```
//!
//! Guarantees: whoever connects is served the pools of the tenant in its certificate and nothing else; nothing in the pod
//! opens the hub; what the pod may do in its cluster is upstream's documented role; a cluster that no longer asks for it
//! loses the pod, its keys and its role.

mod build;
mod config;
mod directory;
mod install;
mod issue;
mod reconciler;
mod serve;
mod status;

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt as _;
use skep_api::labels::{self, component};
use skep_api::{ControlPlane, NodePool};
use skep_kubeops::watch::Select;
use skep_kubeops::{Controller, Key, Observed, Targets, Trigger};
use tokio_util::sync::CancellationToken;

pub use config::{Config, Offer};
pub(crate) use directory::Directory;

use reconciler::ComponentReconciler;

/// Runs the controller, and the server if there is an offer, until `shutdown`.
pub async fn run(config: Config, shutdown: CancellationToken) {
    let observed = Observed::default();
    let reconciler = ComponentReconciler::new(config.clone(), observed.clone());
    let trigger = Trigger::new();
    let (pools, planes) = (reconciler.pools.clone(), reconciler.planes.clone());
    let server = serve::run(
        config.clone(),
        reconciler.authority.clone(),
        reconciler.directory.clone(),
        trigger.clone(),
        shutdown.clone(),
    );
    let ours = format!(
        "{}={},{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_SKEP,
        labels::COMPONENT,
        component::AUTOSCALER
    );
    let controller = Controller::new(reconciler, config.client.clone())
        .observed(&observed)
        .relates::<Deployment>(Select::labels(&ours), of_cluster)
        .relates::<Pod>(Select::labels(&ours), of_cluster)
        .caches::<ControlPlane>(Select::all(), &planes, |plane| {
            let cluster = &plane.spec.cluster;
            Targets::One(Key::namespaced(cluster.namespace.as_str(), cluster.name.as_str()))
        })
        .caches::<NodePool>(Select::all(), &pools, |pool| {
            Targets::One(Key::namespaced(pool.namespace().unwrap_or_default(), pool.spec.cluster.as_str()))
        })
        .triggered_by(&trigger)
        .metrics(&config.metrics)
        .events(&config.recorder)
        .run(shutdown);
    tokio::join!(server, controller);
}

fn of_cluster(meta: &ObjectMeta) -> Targets {
    let label = |key| meta.labels.as_ref().and_then(|labels| labels.get(key));
    match (label(labels::PROJECT), label(labels::CLUSTER)) {
        (Some(project), Some(cluster)) => Targets::One(Key::namespaced(project.as_str(), cluster.as_str())),
        _ => Targets::None,
    }
}
