//! Where identities come from.

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use skep_plan::egress::tunnel;

use super::identity::{IdentityError, IdentityFiles};

/// Who has the files of identities.
pub trait Identities: Send + Sync {
    /// The files for the tunnels of the tenant in this namespace.
    fn of_tenant<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<IdentityFiles, IdentityError>>;

    /// The files for the door; nothing if there is no door.
    fn of_door(&self) -> BoxFuture<'_, Result<Option<IdentityFiles>, IdentityError>>;
}

/// Secrets of a cell. Two names are read and no others: the gateway's role needs `get` on just these.
#[derive(Clone)]
pub struct KubernetesIdentities(Client);

impl KubernetesIdentities {
    /// Read with this client.
    pub fn new(client: Client) -> Self {
        Self(client)
    }

    async fn read(&self, namespace: &str, name: &str) -> Result<Option<IdentityFiles>, IdentityError> {
        let api: Api<Secret> = Api::namespaced(self.0.clone(), namespace);
        match api.get_opt(name).await {
            Ok(secret) => Ok(secret.map(|secret| secret.data.unwrap_or_default().into())),
            Err(error) => Err(IdentityError::Unreadable {
                object: format!("{namespace}/{name}"),
                reason: error.to_string(),
            }),
        }
    }
}

impl Identities for KubernetesIdentities {
    fn of_tenant<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<IdentityFiles, IdentityError>> {
        Box::pin(async move {
            let missing = || IdentityError::Missing(format!("{namespace}/{}", tunnel::SECRET));
            self.read(namespace, tunnel::SECRET).await?.ok_or_else(missing)
        })
    }

    fn of_door(&self) -> BoxFuture<'_, Result<Option<IdentityFiles>, IdentityError>> {
        Box::pin(self.read(skep_api::SYSTEM_NAMESPACE, tunnel::DOOR_SECRET))
    }
}

impl std::fmt::Debug for KubernetesIdentities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KubernetesIdentities")
    }
}
