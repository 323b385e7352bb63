//! The way out: control plane with its data first, then the namespace, then the finalizer, once its machines have gone as
//! well.
//!
//! Every step is asked for again on every pass until it is seen done, so that it does not matter which call failed or
//! at which line the process died.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use skep_api::cluster::Phase;
use skep_api::condition::{self, ConditionType};
use skep_api::labels::finalizer;
use skep_api::{Cluster, ControlPlane, Machine, labels};
use skep_kubeops::events::Severity;
use skep_kubeops::{Key, Next};

use super::dereference::tenant;
use super::{ClusterReconciler, Error, build, status};

/// Pause before machines are counted again.
const AGAIN: Duration = Duration::from_secs(2);

impl ClusterReconciler {
    /// One pass of a deletion.
    pub(super) async fn delete(&self, cluster: &Cluster) -> Result<Next, Error> {
        if !skep_kubeops::finalizer::has(cluster, finalizer::CLUSTER) {
            return Ok(Next::Done);
        }
        let Some((waiting, next)) = self.delete_next(cluster).await? else {
            let namespace = cluster.namespace().unwrap_or_default();
            let api: Api<Cluster> = Api::namespaced(self.config.client.clone(), &namespace);
            skep_kubeops::finalizer::remove(&api, cluster, finalizer::CLUSTER).await?;
            return Ok(Next::Done);
        };
        if cluster.status.as_ref().and_then(|status| status.phase) != Some(Phase::Deleting) {
            let recorder = &self.config.recorder;
            recorder.publish(cluster, Severity::Normal, "Deleting", "Delete", waiting.as_str());
        }
        let now = Time(k8s_openapi::jiff::Timestamp::now());
        let new = status::deleting(cluster, &waiting, &now);
        match self.applier.status(cluster, Some(&status::own(cluster)), &new).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(next),
        }
    }

    /// Asks for the next step; says what is waited for, `None` when nothing is left. The watches of the control plane and of
    /// the namespace bring the next pass; machines are not watched here.
    async fn delete_next(&self, cluster: &Cluster) -> Result<Option<(String, Next)>, Error> {
        let tenant = tenant(cluster);
        let secret =
            Key::namespaced(cluster.namespace().unwrap_or_default(), build::kubeconfig_name(cluster));
        if let Some(found) = self.applier.get::<Secret>(&secret).await?
            && build::belongs_to(&found, &tenant)
        {
            self.applier.delete_if_exists::<Secret>(&secret, found.metadata.uid.as_deref()).await?;
        }
        let key = Key::namespaced(tenant.as_str(), tenant.as_str());
        if let Some(found) = self.applier.get::<ControlPlane>(&key).await? {
            if found.metadata.deletion_timestamp.is_none() {
                self.applier.delete_if_exists::<ControlPlane>(&key, found.metadata.uid.as_deref()).await?;
            }
            return Ok(Some((removal(&found), Next::Done)));
        }
        let key = Key::cluster(tenant.as_str());
        match self.applier.get::<Namespace>(&key).await? {
            Some(found) if build::belongs_to(&found, &tenant) => {
                if found.metadata.deletion_timestamp.is_none() {
                    self.applier.delete_if_exists::<Namespace>(&key, found.metadata.uid.as_deref()).await?;
                }
                Ok(Some((format!("namespace {tenant} is being removed"), Next::Done)))
            }
            _ => Ok(self.machines(cluster).await?.map(|waiting| (waiting, Next::After(AGAIN)))),
        }
    }

    /// Machines go by themselves when their cluster does, each as its infrastructure can; a cluster that is gone has none.
    async fn machines(&self, cluster: &Cluster) -> Result<Option<String>, Error> {
        let namespace = cluster.namespace().unwrap_or_default();
        let api: Api<Machine> = Api::namespaced(self.config.client.clone(), &namespace);
        let of_cluster = format!("{}={}", labels::CLUSTER, cluster.name_any());
        let params = ListParams::default().labels(&of_cluster);
        let left = api
            .list_metadata(&params)
            .await
            .map_err(|error| skep_kubeops::Error::api::<Machine>("list", &of_cluster, error))?
            .items
            .len();
        Ok((left > 0)
            .then(|| format!("{left} of its machines are being removed; `skep get machines` says more")))
    }
}

/// What the removal of a control plane is at, in its cell's words once there are any.
fn removal(control_plane: &ControlPlane) -> String {
    let conditions = control_plane.status.as_ref().map(|status| status.conditions.as_slice());
    let said = condition::get(conditions.unwrap_or_default(), ConditionType::Ready)
        .filter(|_| control_plane.metadata.deletion_timestamp.is_some())
        .map(|ready| format!(": {}", ready.message));
    format!("the control plane and its data are being removed{}", said.unwrap_or_default())
}
