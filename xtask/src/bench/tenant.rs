//! A tenant cluster for a bench.

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client, api::PostParams};
use serde_json::{Value, json};
use skep_api::Cluster;
use skep_kubeops::client::ClientConfig;

use super::bare;

/// A cluster that was made.
pub struct Tenant {
    /// A client of it.
    pub client: Client,
    /// The administrator's kubeconfig.
    pub kubeconfig: String,
}

/// Makes a cluster and waits until it serves.
pub async fn create(hub: &Client, name: &str, spec: &Value) -> anyhow::Result<Tenant> {
    let cluster: Cluster = serde_json::from_value(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name}, "spec": spec,
    }))?;
    let clusters: Api<Cluster> = Api::namespaced(hub.clone(), "default");
    clusters.create(&PostParams::default(), &cluster).await?;
    let secrets: Api<Secret> = Api::namespaced(hub.clone(), "default");
    let value = |secret: &Secret| secret.data.as_ref().and_then(|data| data.get("value")).cloned();
    let secret =
        bare::appears(&secrets, &format!("{name}-kubeconfig"), |secret| value(secret).is_some()).await?;
    let kubeconfig = String::from_utf8(value(&secret).unwrap_or_default().0)?;
    let client = ClientConfig::from_yaml(&kubeconfig).await?.build("skep-bench")?;
    bare::default_service_account(client.clone()).await?;
    Ok(Tenant { client, kubeconfig })
}
