//! The way out: workloads first, then the tenant's access and keys, then the finalizer.
//!
//! Every step is asked for again on every pass until it is seen done. It starts from any half-made state: what was never
//! made is not there to be deleted. Secrets, policies and the rest have the control plane as owner and go with it.

use std::time::Duration;

use futures::future::join_all;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::api::DeleteParams;
use kube::{Api, ResourceExt as _};
use skep_api::ControlPlane;
use skep_api::labels::finalizer;
use skep_datastore::Removal;
use skep_kubeops::{Key, Next};

use super::{ControlPlaneReconciler, tenant};
use crate::{Error, status, termination};

/// How much longer than its grace a pod is waited for. A pod on a lost node never ends; its keys are out of its reach
/// from the first step of their removal on.
const LOST: Duration = Duration::from_secs(30);
/// Pause before a removal of many keys goes on.
const GO_ON: Duration = Duration::from_millis(50);

impl ControlPlaneReconciler {
    /// One pass of a deletion.
    pub(super) async fn delete(&self, owner: &ControlPlane) -> Result<Next, Error> {
        if !skep_kubeops::finalizer::has(owner, finalizer::CONTROL_PLANE) {
            return Ok(Next::Done);
        }
        let (deployments, pods) = tokio::try_join!(self.list::<Deployment>(owner), self.list::<Pod>(owner))?;
        if !deployments.is_empty() {
            self.delete_deployments(&deployments).await?;
        }
        let now = Timestamp::now();
        let waited_for: Vec<&Pod> = pods.iter().filter(|pod| !is_lost(pod, now)).collect();
        if !waited_for.is_empty() {
            self.hurry(owner, &waited_for).await?;
            self.say(owner, "its programs are being stopped").await?;
            // Pods are watched; the pause is for those that are lost.
            return Ok(Next::After(termination::GRACE + LOST));
        }
        if let Ok(tenant) = tenant(owner)
            && let Removal::Partial(_) = self.config.store.remove(&owner.spec.datastore, &tenant).await?
        {
            self.say(owner, "its keys are being deleted").await?;
            return Ok(Next::After(GO_ON));
        }
        let api: Api<ControlPlane> =
            Api::namespaced(self.config.client.clone(), &owner.namespace().unwrap_or_default());
        skep_kubeops::finalizer::remove(&api, owner, finalizer::CONTROL_PLANE).await?;
        Ok(Next::Done)
    }

    async fn delete_deployments(&self, deployments: &[Deployment]) -> Result<(), Error> {
        let one = |deployment: &Deployment| {
            let (key, uid) = (Key::of(deployment), deployment.metadata.uid.clone());
            async move { self.applier.delete_if_exists::<Deployment>(&key, uid.as_deref()).await }
        };
        join_all(deployments.iter().map(one)).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    /// Shortens the grace of pods that are on their way out: nobody is left to be served. Pods that are not are left to
    /// the garbage collector, because their ReplicaSet would only make new ones.
    async fn hurry(&self, owner: &ControlPlane, pods: &[&Pod]) -> Result<(), Error> {
        let api: Api<Pod> =
            Api::namespaced(self.config.client.clone(), &owner.namespace().unwrap_or_default());
        let short = termination::DELETION_GRACE.as_secs();
        let patient = pods.iter().filter(|pod| {
            let grace = pod.metadata.deletion_grace_period_seconds.and_then(|s| u64::try_from(s).ok());
            pod.metadata.deletion_timestamp.is_some() && grace.is_some_and(|seconds| seconds > short)
        });
        let params =
            DeleteParams { grace_period_seconds: u32::try_from(short).ok(), ..DeleteParams::default() };
        for pod in patient {
            let name = pod.name_any();
            match api.delete(&name, &params).await {
                Ok(_) => {}
                Err(error) if skep_kubeops::error::is_not_found(&error) => {}
                Err(source) => return Err(Error::call::<Pod>("delete", Key::of(*pod), source)),
            }
        }
        Ok(())
    }

    /// Says which step is under way. A status that cannot be written does not stop a deletion.
    async fn say(&self, owner: &ControlPlane, step: &str) -> Result<(), Error> {
        let new = status::deleting(owner, step, &Time(Timestamp::now()));
        match self.applier.status(owner, owner.status.as_ref(), &new).await {
            Err(error) if !error.is_not_found() => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// Whether a pod should have ended long ago.
fn is_lost(pod: &Pod, now: Timestamp) -> bool {
    // The time stamp is the moment at which the grace ends.
    let end = pod.metadata.deletion_timestamp.as_ref().map(|time| time.0);
    end.is_some_and(|end| Duration::try_from(now.duration_since(end)).is_ok_and(|late| late > LOST))
}
