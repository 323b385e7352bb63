//! Writes: the namespace, the control plane, the kubeconfig.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Namespace, Secret};
use skep_api::resources::Reconciliation;
use skep_api::{Cluster, ControlPlane, ControlPlaneSpec, TenantId};
use skep_kubeops::{Key, Object};

use super::dereference::{Found, tenant};
use super::{ClusterReconciler, Error, build, status};

impl ClusterReconciler {
    /// Brings namespace and control plane to the spec; gives the control plane as it is now.
    pub(super) async fn apply(
        &self,
        cluster: &Cluster,
        spec: ControlPlaneSpec,
        found: &Found,
    ) -> Result<Arc<ControlPlane>, Error> {
        let desired = build::control_plane(cluster, &found.tenant, spec);
        if found.control_plane.is_none() {
            self.refuse_foreign::<Namespace>(&Key::cluster(found.tenant.as_str()), &found.tenant).await?;
        }
        // Seen by a watch: no call unless somebody changed what it enforces.
        self.applier.ensure(&build::namespace(cluster, &found.tenant)).await?;
        if let Some(existing) = &found.control_plane
            && existing.metadata.deletion_timestamp.is_none()
            && existing.spec == desired.spec
            && existing.metadata.labels == desired.metadata.labels
        {
            return Ok(existing.clone());
        }
        Ok(Arc::new(self.applier.apply(&desired).await?))
    }

    /// Makes the cell leave the control plane of a paused cluster alone, and changes nothing else of it.
    pub(super) async fn pause(&self, found: &Found) -> Result<Option<Arc<ControlPlane>>, Error> {
        let Some(cached) = &found.control_plane else { return Ok(None) };
        if cached.spec.reconciliation == Reconciliation::Paused {
            return Ok(Some(cached.clone()));
        }
        // The cache may be behind a change of our own, which a pause must not take back.
        let Some(live) = self.applier.get::<ControlPlane>(&Key::of(&**cached)).await? else {
            return Ok(None);
        };
        let spec = ControlPlaneSpec { reconciliation: Reconciliation::Paused, ..live.spec };
        let mut desired = ControlPlane::new(found.tenant.as_str(), spec);
        desired.metadata.namespace = Some(found.tenant.to_string());
        desired.metadata.labels = live.metadata.labels;
        Ok(Some(Arc::new(self.applier.apply(&desired).await?)))
    }

    /// Copies the admin kubeconfig, once the cell has made it, to a Secret beside the cluster; gives its name.
    pub(super) async fn hand_over_kubeconfig(
        &self,
        cluster: &Cluster,
        control_plane: &ControlPlane,
    ) -> Result<Option<String>, Error> {
        let tenant = tenant(cluster);
        let Some(source) =
            control_plane.status.as_ref().and_then(|status| status.kubeconfig_secret.as_deref())
        else {
            return Ok(None);
        };
        let key = Key::namespaced(tenant.as_str(), source);
        let secret = match self.applier.get::<Secret>(&key).await? {
            Some(secret) => secret,
            None => return Ok(None),
        };
        let Some(kubeconfig) = secret.data.as_ref().and_then(|data| data.get(build::KUBECONFIG_KEY)) else {
            return Ok(None);
        };
        let desired = build::kubeconfig(cluster, &tenant, &kubeconfig.0);
        if cluster.status.as_ref().is_none_or(|status| status.kubeconfig_secret.is_none()) {
            self.refuse_foreign::<Secret>(&Key::of(&desired), &tenant).await?;
        }
        self.applier.ensure(&desired).await?;
        Ok(Some(build::kubeconfig_name(cluster)))
    }

    /// Tells people what changed, on the cluster.
    pub(super) fn announce(
        &self,
        cluster: &Cluster,
        new: &skep_api::ClusterStatus,
        outcome: &status::Outcome,
    ) {
        let old = cluster.status.as_ref().and_then(|status| status.phase);
        let Some(phase) = new.phase.filter(|phase| Some(*phase) != old) else {
            return;
        };
        let (severity, reason, message) = status::event(phase, new, outcome);
        self.config.recorder.publish(cluster, severity, reason, "Reconcile", message);
    }

    /// What is there under our name and is not ours is not written over.
    async fn refuse_foreign<K: Object>(&self, key: &Key, tenant: &TenantId) -> Result<(), Error> {
        match self.applier.get::<K>(key).await? {
            Some(found) if !build::belongs_to(&found, tenant) => {
                Err(Error::Foreign { kind: K::kind(&()).into_owned(), object: key.to_string() })
            }
            _ => Ok(()),
        }
    }
}
