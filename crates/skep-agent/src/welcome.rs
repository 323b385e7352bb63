//! Whether the cluster takes a machine: better asked here than found in a kubelet's log.

use k8s_openapi::ByteString;
use serde_json::json;
use skep_kubeops::ClientConfig;

use crate::{Error, Result, config::Join};

/// Asks the cluster whether it knows the token. One call, whose certificate must be the cluster's.
///
/// # Errors
/// [`Error::Unknown`] when the cluster says that it does not; [`Error::Unreachable`] when it says nothing.
pub async fn welcome(join: &Join) -> Result<()> {
    let cluster = &join.cluster;
    let unreachable = |reason: String| Error::Unreachable {
        server: cluster.server.clone(),
        cluster: cluster.host.clone(),
        reason,
    };
    let name = "join";
    let config = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": name,
        "clusters": [{"name": name, "cluster": {
            "server": cluster.server, "tls-server-name": cluster.host,
            "certificate-authority-data": ByteString(cluster.authorities.clone().into_bytes()),
        }}],
        "users": [{"name": name, "user": {"token": join.token}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
    });
    let client = ClientConfig::from_yaml(&config.to_string())
        .await
        .and_then(|config| config.retries(1).build("skep-agent"))
        .map_err(|error| unreachable(error.to_string()))?;
    match client.apiserver_version().await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 401 => {
            Err(Error::Unknown { node: join.node.clone(), cluster: cluster.host.clone() })
        }
        Err(error) => Err(unreachable(skep_kubeops::error::describe(&error))),
    }
}
