//! Reads: everything a pass decides on, from caches where there is one.

use std::sync::Arc;

use kube::ResourceExt as _;
use skep_api::{Cluster, ControlPlane, TenantId};
use skep_kubeops::Key;
use skep_plan::{Catalogue, Cell, datastore::Candidate};

use super::{ClusterReconciler, Error};

/// What was found.
pub struct Found {
    /// Tenant id of the cluster.
    pub tenant: TenantId,
    /// The catalogue as it is now.
    pub catalogue: Catalogue,
    /// The cell as it is now.
    pub cell: Cell,
    /// The cluster's control plane, if it has one.
    pub control_plane: Option<Arc<ControlPlane>>,
}

/// Tenant id of a cluster that exists.
pub fn tenant(cluster: &Cluster) -> TenantId {
    TenantId::of_cluster(&cluster.name_any(), cluster.metadata.uid.as_deref().unwrap_or_default())
}

impl ClusterReconciler {
    /// Reads what a pass needs.
    pub(super) async fn dereference(&self, cluster: &Cluster) -> Result<Found, Error> {
        let caches = &self.caches;
        let (sizes, profiles, releases) =
            (caches.size_classes.list(), caches.profiles.list(), caches.releases.list());
        let catalogue = Catalogue::new(
            sizes.iter().map(AsRef::as_ref),
            profiles.iter().map(AsRef::as_ref),
            releases.iter().map(AsRef::as_ref),
        );
        let mut cell = Cell::new(self.config.gateway.as_str());
        cell.domain.clone_from(&self.config.domain);
        cell.datastores = caches.datastores.list().iter().map(|object| Candidate::from(&**object)).collect();
        let tenant = tenant(cluster);
        let control_plane = self.control_plane(cluster, &tenant).await?;
        Ok(Found { tenant, catalogue, cell, control_plane })
    }

    /// The control plane from the cache. The cache may be a moment behind our own creation: a cluster that says it has
    /// one is asked for it, so that nothing is decided a second time.
    pub(super) async fn control_plane(
        &self,
        cluster: &Cluster,
        tenant: &TenantId,
    ) -> Result<Option<Arc<ControlPlane>>, Error> {
        let key = Key::namespaced(tenant.as_str(), tenant.as_str());
        if let Some(cached) = self.caches.control_planes.get(&key) {
            return Ok(Some(cached));
        }
        if cluster.status.as_ref().is_none_or(|status| status.tenant.is_none()) {
            return Ok(None);
        }
        Ok(self.applier.get(&key).await?.map(Arc::new))
    }
}
