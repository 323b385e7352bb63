//! What both controllers read, each watched once, and the facts that decisions are made on.

use std::sync::Arc;

use kube::ResourceExt as _;
use skep_api::{Cluster, ControlPlane, Machine, MachineClass, NodePool, Release};
use skep_kubeops::{Cache, Key};
use skep_plan::node_pool::{ClusterState, Facts};

use crate::{Error, Watched};

/// Everything that is watched in full: our own kinds only. Cheap to clone.
#[derive(Clone, Default)]
pub struct Caches {
    /// Clusters.
    pub clusters: Cache<Cluster>,
    /// Their control planes.
    pub control_planes: Cache<ControlPlane>,
    /// Machine classes.
    pub classes: Cache<MachineClass>,
    /// Releases.
    pub releases: Cache<Release>,
    /// Pools.
    pub pools: Cache<NodePool>,
    /// Machines, as the machine controller sees them.
    pub machines: Cache<Machine>,
    /// Machines, as the pool controller sees them. Two controllers need two watches: one would hear of a change only
    /// after the other has kept it.
    pub pool_machines: Cache<Machine>,
    /// Pools, as the machine controller sees them, for the same reason.
    pub machine_pools: Cache<NodePool>,
    /// Since when nodes are watched.
    pub watched: Watched,
}

impl Caches {
    /// The facts about pools and machines of a cluster.
    ///
    /// # Errors
    /// Not everything has been seen once.
    pub(crate) fn facts(&self, namespace: &str, cluster: &str) -> Result<Facts, Error> {
        let unseen = [
            (self.clusters.is_synced(), "the list of clusters"),
            (self.control_planes.is_synced(), "the list of control planes"),
            (self.classes.is_synced(), "the list of machine classes"),
            (self.releases.is_synced(), "the list of releases"),
        ];
        if let Some((_, what)) = unseen.iter().find(|(synced, _)| !synced) {
            return Err(Error::NotSeen((*what).to_owned()));
        }
        let (classes, releases) = (self.classes.list(), self.releases.list());
        let classes = classes.iter().map(|class| &**class);
        Ok(Facts::new(self.cluster_state(namespace, cluster), classes, releases.iter().map(|one| &**one)))
    }

    /// A cluster.
    pub(crate) fn cluster(&self, namespace: &str, name: &str) -> Option<Arc<Cluster>> {
        self.clusters.get(&Key::namespaced(namespace, name))
    }

    /// The control plane of a cluster.
    pub(crate) fn control_plane(&self, cluster: &Cluster) -> Option<Arc<ControlPlane>> {
        let tenant = cluster.status.as_ref()?.tenant.as_deref()?;
        self.control_planes.get(&Key::namespaced(tenant, tenant))
    }

    fn cluster_state(&self, namespace: &str, name: &str) -> ClusterState {
        let Some(cluster) = self.cluster(namespace, name) else {
            let here = |cluster: &Cluster| cluster.namespace().as_deref() == Some(namespace);
            let mut known: Vec<String> = self.clusters.select(here).iter().map(|c| c.name_any()).collect();
            known.sort();
            return ClusterState::Missing(known);
        };
        ClusterState::of(&cluster, self.control_plane(&cluster).as_deref())
    }
}
