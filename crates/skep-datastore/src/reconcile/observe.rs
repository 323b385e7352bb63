//! What is there: the objects of a datastore as the API server has them now.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, ResourceExt};
use skep_api::Datastore;
use skep_kubeops::{Key, Object};

use super::certificates::Stored;
use crate::Result;
use crate::secrets::{ca_name, root_name, server_name};

/// The objects of a datastore.
#[derive(Debug, Default)]
pub(crate) struct Observation {
    pub stored: Stored,
    pub stateful_set: Option<StatefulSet>,
}

impl Observation {
    /// The StatefulSet's status, once its controller wrote one.
    pub(crate) fn status(&self) -> Option<&StatefulSetStatus> {
        self.stateful_set.as_ref()?.status.as_ref()
    }
}

/// Reads them.
///
/// # Errors
/// The API server cannot be reached or refuses.
pub(crate) async fn observe(client: &Client, datastore: &Datastore) -> Result<Observation> {
    let namespace = datastore.namespace().unwrap_or_default();
    let name = datastore.name_any();
    let (ca, server, root, stateful_set) = tokio::join!(
        get::<Secret>(client, &namespace, ca_name(&name)),
        get::<Secret>(client, &namespace, server_name(&name)),
        get::<Secret>(client, &namespace, root_name(&name)),
        get::<StatefulSet>(client, &namespace, name.clone()),
    );
    Ok(Observation { stored: Stored { ca: ca?, server: server?, root: root? }, stateful_set: stateful_set? })
}

async fn get<K>(client: &Client, namespace: &str, name: String) -> Result<Option<K>>
where
    K: Object + kube::Resource<Scope = k8s_openapi::NamespaceResourceScope>,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(&name).await;
    Ok(found.map_err(|e| skep_kubeops::Error::api::<K>("get", &Key::namespaced(namespace, name), e))?)
}
