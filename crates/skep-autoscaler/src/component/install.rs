//! What is written: in the tenant's cluster its role, in the tenant's namespace of the cell everything else.

use std::sync::PoisonError;
use std::time::{Duration, Instant};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::jiff::Timestamp;
use serde_json::Value;
use skep_api::ControlPlane;
use skep_api::labels::component::AUTOSCALER;
use skep_api::resources::Flag;
use skep_controlplane::names;
use skep_controlplane::pki::{Authorities, Data};
use skep_kubeops::{Applier, Force, Key};
use skep_node::Credentials;
use skep_node::tenants::Endpoint;

use super::reconciler::{ComponentReconciler, Failed};
use super::{Offer, build, issue};
use crate::NAME;
use crate::address::port;

/// The role in the tenant's cluster.
const ROLE: &str = include_str!("../../../../deploy/components/autoscaler.yaml");
/// Name of its objects, and the namespace of those that have one.
const ROLE_NAME: &str = "skep:cluster-autoscaler";
const ROLE_NAMESPACE: &str = "kube-system";
/// Pause until the role is applied again: somebody may have taken it away.
const AGAIN: Duration = Duration::from_secs(3600);
/// Port of a gateway whose URL names none.
const HTTPS: i32 = 443;

impl ComponentReconciler {
    /// Everything, in an order in which a pod never starts without what it needs.
    pub(super) async fn install(
        &self,
        key: &Key,
        plane: &ControlPlane,
        offer: &Offer,
        flags: &[Flag],
    ) -> Result<(), Failed> {
        self.grant(key, plane).await?;
        let tenant = plane.spec.tenant.as_str();
        let (stored, authorities) =
            tokio::try_join!(self.data(tenant, AUTOSCALER), self.data(tenant, names::AUTHORITIES))?;
        let now = Timestamp::now();
        let authorities = Authorities::read(&authorities, now)?;
        let gateway = self.config.gateway.as_str();
        let issued =
            issue::issue(plane, &authorities, &self.authority, &stored, (&offer.address, gateway), now)
                .await?;
        let ports = [gateway, &offer.address].map(|address| port(address).map_or(HTTPS, i32::from));
        let (secret, policy) = (build::secret(plane, issued.data), build::policy(plane, ports));
        self.applier.ensure(&secret).await?;
        self.applier.ensure(&policy).await?;
        self.applier.ensure(&build::deployment(plane, offer, flags, &issued.digest)).await?;
        Ok(())
    }

    /// Takes all of it away; what is not there is no error.
    pub(super) async fn uninstall(&self, key: &Key, plane: &ControlPlane) -> Result<(), Failed> {
        let own = Key::namespaced(plane.spec.tenant.as_str(), AUTOSCALER);
        self.applier.delete_if_exists::<Deployment>(&own, None).await?;
        self.applier.delete_if_exists::<NetworkPolicy>(&own, None).await?;
        self.applier.delete_if_exists::<Secret>(&own, None).await?;
        // The certificate may live on in somebody's hands: without the role it is worth nothing.
        let tenant = self.tenant(key, plane).await?;
        let failed = |source| Failed::Tenant { cluster: key.clone(), source };
        let cluster = Key::cluster(ROLE_NAME);
        tenant.delete_if_exists::<ClusterRoleBinding>(&cluster, None).await.map_err(failed)?;
        tenant.delete_if_exists::<ClusterRole>(&cluster, None).await.map_err(failed)?;
        let namespaced = Key::namespaced(ROLE_NAMESPACE, ROLE_NAME);
        tenant.delete_if_exists::<RoleBinding>(&namespaced, None).await.map_err(failed)?;
        tenant.delete_if_exists::<Role>(&namespaced, None).await.map_err(failed)?;
        Ok(())
    }

    /// Gives the autoscaler's user its role, once and again after a while.
    async fn grant(&self, key: &Key, plane: &ControlPlane) -> Result<(), Failed> {
        let granted = || self.granted.lock().unwrap_or_else(PoisonError::into_inner);
        if granted().get(key).is_some_and(|at| at.elapsed() < AGAIN) {
            return Ok(());
        }
        let tenant = self.tenant(key, plane).await?;
        for object in role() {
            let applied = tenant.apply_manifest(&object, Force::Take).await;
            applied.map_err(|source| Failed::Tenant { cluster: key.clone(), source })?;
        }
        granted().insert(key.clone(), Instant::now());
        Ok(())
    }

    /// The tenant's API server with its administrator's rights, by the cell's own copy of the kubeconfig.
    async fn tenant(&self, key: &Key, plane: &ControlPlane) -> Result<Applier, Failed> {
        let at = Key::namespaced(plane.spec.tenant.as_str(), names::ADMIN);
        let secret = self.applier.get::<Secret>(&at).await?;
        let secret = secret.ok_or_else(|| skep_node::Error::NoKubeconfig { secret: at.clone() })?;
        let endpoint =
            Endpoint { server: self.config.gateway.clone(), host: plane.spec.endpoint.host.clone() };
        let credentials = Credentials::read(&at, &secret, &endpoint)?;
        let client = (self.config.connect)(credentials).await;
        let client = client.map_err(|reason| Failed::Client { cluster: key.clone(), reason })?;
        Ok(Applier::new(client, NAME))
    }

    async fn data(&self, namespace: &str, name: &str) -> Result<Data, Failed> {
        let secret = self.applier.get::<Secret>(&Key::namespaced(namespace, name)).await?;
        Ok(Data::from(secret.and_then(|secret| secret.data).unwrap_or_default()))
    }
}

/// The objects of the role. A test reads them.
fn role() -> Vec<Value> {
    let mut objects = serde_saphyr::from_multiple::<Value>(ROLE).unwrap_or_default();
    for object in &mut objects {
        object["metadata"]["labels"][skep_api::labels::MANAGED_BY] = skep_api::labels::MANAGED_BY_SKEP.into();
    }
    objects
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_role_is_whole_and_binds_the_user_of_the_certificate() {
        let objects = role();
        assert_eq!(objects.len(), ROLE.lines().filter(|line| *line == "---").count() + 1);
        for object in &objects {
            assert!(skep_kubeops::path_of(object).is_ok(), "{object}");
            assert_eq!(object["metadata"]["name"], ROLE_NAME);
            if object["kind"].as_str().is_some_and(|kind| kind.ends_with("Binding")) {
                assert_eq!(object["subjects"][0]["name"], issue::USER);
            }
        }
        let text = serde_json::to_string(&objects).unwrap();
        assert!(!text.contains("\"*\"") && !text.contains("secrets"), "the role is narrow");
    }
}
