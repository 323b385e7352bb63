//! Reads, all from caches: what a pass decides on.

use std::sync::Arc;

use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::{Cluster, ControlPlane, Machine};
use skep_kubeops::Key;
use skep_plan::node_pool::{Node, Unresolved, resolve_machine};

use super::MachineReconciler;
use crate::Error;
use crate::tenants::Endpoint;

/// What was found.
pub(super) struct Found {
    /// Key of the cluster, whether there is one or not.
    pub(super) key: Key,
    /// The cluster.
    pub(super) cluster: Option<Arc<Cluster>>,
    /// Its control plane.
    pub(super) control_plane: Option<Arc<ControlPlane>>,
    /// What the machine should be.
    pub(super) node: Result<Node, Unresolved>,
}

impl Found {
    /// The cluster is gone or going: nobody needs its nodes any more.
    pub(super) fn is_leaving(&self) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| cluster.metadata.deletion_timestamp.is_some())
    }

    /// Where the cluster serves at this gateway, if it does.
    pub(super) fn endpoint(&self, gateway: &str) -> Option<Endpoint> {
        let conditions = &self.cluster.as_ref()?.status.as_ref()?.conditions;
        if !condition::is_true(conditions, ConditionType::Ready) {
            return None;
        }
        let host = self.control_plane.as_ref()?.spec.endpoint.host.clone();
        Some(Endpoint { server: gateway.to_owned(), host })
    }
}

impl MachineReconciler {
    /// Reads what a pass needs.
    pub(super) fn dereference(&self, machine: &Machine) -> Result<Found, Error> {
        let namespace = machine.namespace().unwrap_or_default();
        let name = machine.spec.cluster.as_str();
        let facts = self.caches.facts(&namespace, name)?;
        let cluster = self.caches.cluster(&namespace, name);
        let control_plane = cluster.as_ref().and_then(|cluster| self.caches.control_plane(cluster));
        let node = resolve_machine(&machine.spec, &facts);
        Ok(Found { key: Key::namespaced(namespace, name), cluster, control_plane, node })
    }
}
