//! The controller of `Datastore` objects: its watches and its reconciler, put together.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Client;
use skep_api::labels;
use skep_kubeops::apply::Observed;
use skep_kubeops::{Applier, Controller, Metrics, Recorder};
use tokio_util::sync::CancellationToken;

use crate::{Config, DatastoreReconciler, Datastores};

/// Field manager of everything this crate writes.
const MANAGER: &str = "skep-datastore";

/// What the controller runs with.
#[derive(Clone)]
pub struct Context {
    /// The cell.
    pub client: Client,
    /// Shared with the [`crate::EtcdTenants`] of this process, so that both use one connection and one view.
    pub datastores: Datastores,
    /// Settings of the cell.
    pub config: Config,
    /// Counts go here.
    pub metrics: Metrics,
    /// Events go here.
    pub recorder: Option<Recorder>,
}

/// The controller of `Datastore` objects, ready to run.
pub fn controller(context: Context) -> Controller<DatastoreReconciler> {
    let Context { client, datastores, config, metrics, recorder } = context;
    let observed = Observed::default();
    let applier = Applier::new(client.clone(), MANAGER).observing(observed.clone());
    let trigger = datastores.trigger().clone();
    let reconciler = DatastoreReconciler::new(applier, datastores, config, recorder.clone());
    let children = format!(
        "{}={},{}={}",
        labels::MANAGED_BY,
        labels::MANAGED_BY_SKEP,
        labels::COMPONENT,
        labels::component::ETCD
    );
    let controller = Controller::new(reconciler, client)
        .observed(&observed)
        .owns::<StatefulSet>(&children)
        .owns::<Secret>(&children)
        .owns::<Service>(&children)
        .owns::<NetworkPolicy>(&children)
        .owns::<PodDisruptionBudget>(&children)
        .triggered_by(&trigger)
        .metrics(&metrics);
    match &recorder {
        Some(recorder) => controller.events(recorder),
        None => controller,
    }
}

/// Runs the controller until `shutdown`.
pub async fn run(context: Context, shutdown: CancellationToken) {
    controller(context).run(shutdown).await;
}
