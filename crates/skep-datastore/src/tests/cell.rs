//! A cell in memory with one datastore.

use std::sync::Arc;

use kube::{Api, Client};
use serde_json::json;
use skep_api::{ControlPlane, Datastore};
use skep_kubeops::{Applier, Next, Reconciler};
use skep_testkit::{FakeApiServer, objects};

use crate::etcd::stage::{FakeEtcd, Stage};
use crate::reconcile::DatastoreReconciler;
use crate::reconcile::validate::tests::{config, datastore};
use crate::{Datastores, Error};

/// An API server in memory whose StatefulSets are ready at once.
pub(super) fn server() -> FakeApiServer {
    let server = FakeApiServer::new().with_ready_workloads();
    server.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "skep-system"}}));
    server
}

/// The operator after a start, with nothing in memory.
pub(super) fn reconciler(client: &Client, etcd: &FakeEtcd) -> DatastoreReconciler {
    staged(client, &Stage::with(etcd))
}

/// As [`reconciler`], with this stage in front of etcd.
pub(super) fn staged(client: &Client, stage: &Stage) -> DatastoreReconciler {
    let datastores = Datastores::staged(client.clone(), stage);
    DatastoreReconciler::new(Applier::new(client.clone(), "skep-datastore"), datastores, config(), None)
}

pub(super) fn api(client: &Client) -> Api<Datastore> {
    Api::namespaced(client.clone(), "skep-system")
}

/// The datastore as it is now.
pub(super) async fn now(client: &Client) -> Option<Datastore> {
    api(client).get_opt("main").await.unwrap()
}

/// The manifest a person applies.
pub(super) fn manifest() -> Datastore {
    let mut datastore = datastore();
    datastore.metadata.uid = None;
    datastore.metadata.generation = None;
    datastore
}

/// One pass, if the datastore is there.
pub(super) async fn pass(reconciler: &DatastoreReconciler, client: &Client) -> anyhow::Result<()> {
    if let Some(found) = api(client).get_opt("main").await? {
        reconcile(reconciler, found).await.map_err(|error| anyhow::anyhow!("{error}"))?;
    }
    Ok(())
}

/// One pass over this object.
pub(super) async fn reconcile(reconciler: &DatastoreReconciler, found: Datastore) -> Result<Next, Error> {
    reconciler.reconcile(Arc::new(found)).await
}

/// A condition as `type status reason`, with its message.
pub(super) async fn condition(client: &Client, type_: &str) -> (String, String) {
    let status = now(client).await.and_then(|d| d.status).unwrap_or_default();
    let found = status.conditions.iter().find(|c| c.type_ == type_);
    found.map_or_else(Default::default, |c| (format!("{} {}", c.status, c.reason), c.message.clone()))
}

/// A control plane in this datastore.
pub(super) fn control_plane(tenant: &str) -> ControlPlane {
    let mut object = objects::control_plane("v1.36.3", |spec| spec.tenant = tenant.into());
    object.metadata.name = Some(tenant.into());
    object.metadata.namespace = Some("skep-system".into());
    object
}
