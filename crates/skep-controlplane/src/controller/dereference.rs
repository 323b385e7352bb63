//! Reads: everything a pass decides on, at once.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::api::ListParams;
use kube::{Api, ResourceExt as _};
use serde::de::Error as _;
use skep_api::ControlPlane;
use skep_kubeops::watch::{Guard, Undecodable};

use super::ControlPlaneReconciler;
use crate::pki::Stored;
use crate::{Error, names};

/// What was found in the tenant's namespace.
pub(super) struct Found {
    pub(super) stored: Stored,
    pub(super) pods: Vec<Pod>,
    pub(super) deployments: Vec<Deployment>,
}

impl ControlPlaneReconciler {
    /// Reads the Secrets, pods and Deployments of a control plane. They are read, not watched: most control planes need
    /// nothing for months, and Secrets are best not kept in memory.
    pub(super) async fn dereference(&self, owner: &ControlPlane) -> Result<Found, Error> {
        let (secrets, pods, deployments) = tokio::try_join!(
            self.list::<Secret>(owner),
            self.list::<Pod>(owner),
            self.list::<Deployment>(owner)
        )?;
        Ok(Found { stored: Stored::new(secrets), pods, deployments })
    }

    /// Everything of a kind that belongs to the control plane, without `managedFields`.
    pub(super) async fn list<K>(&self, owner: &ControlPlane) -> Result<Vec<K>, Error>
    where
        K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope> + skep_kubeops::Object,
    {
        let namespace = owner.namespace().unwrap_or_default();
        let selector = names::of_tenant(&owner.spec.tenant);
        let api: Api<Guard<K>> = Api::namespaced(self.config.client.clone(), &namespace);
        let failed = |source| Error::call::<K>("list", &namespace, source);
        let list = api.list(&ListParams::default().labels(&selector)).await.map_err(failed)?;
        let unreadable = |bad: Undecodable| kube::Error::SerdeError(serde_json::Error::custom(bad.error));
        list.into_iter().map(|item| item.0.map_err(|bad| failed(unreadable(bad)))).collect()
    }
}
