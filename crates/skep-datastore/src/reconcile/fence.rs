//! Writing authorities so that two operators at once never write two different ones.
//!
//! Everything else is applied by force, because whoever applies last is right. A new authority is random: had two
//! operators each made one, what the first has signed would be worth nothing a moment later. The first write wins; the
//! other operator gets a conflict and reads what is there in its next pass.

use k8s_openapi::api::core::v1::Secret;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};
use skep_kubeops::Key;

use crate::Result;

/// Writes `authorities` if they are still as they were `seen`.
///
/// # Errors
/// Somebody else wrote them meanwhile, or the API server cannot be reached or refuses.
pub(crate) async fn write(
    client: &Client,
    manager: &str,
    authorities: &Secret,
    seen: Option<&Secret>,
) -> Result<()> {
    let (namespace, name) = (authorities.namespace().unwrap_or_default(), authorities.name_any());
    let api: Api<Secret> = Api::namespaced(client.clone(), &namespace);
    let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
    let written = match seen {
        None => api.create(&params, authorities).await,
        Some(seen) => {
            let mut next = authorities.clone();
            next.metadata.resource_version = seen.resource_version();
            api.replace(&name, &params, &next).await
        }
    };
    written.map_err(|e| skep_kubeops::Error::api::<Secret>("write", &Key::namespaced(namespace, name), e))?;
    Ok(())
}
