//! Authorities of a whole cell: each in a Secret of its own in the system namespace, made when it is first needed.
//!
//! Guarantees: of two operators that make one at once, the second takes what the first one made; generations overlap.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use skep_api::{SYSTEM_NAMESPACE, labels};
use skep_kubeops::{Applier, Key};
use skep_pki::{AuthorityPlan, Generations};

use crate::pki::Data;
use crate::{Error, names};

const CERTS: &str = "ca.crt";
const KEYS: &str = "ca.key";

/// The authority as it is stored in Secret `name` afterwards. One that is not there is made.
///
/// # Errors
/// The Secret cannot be read or written, also because somebody else was first: then it may be tried again.
pub async fn ensure(
    applier: &Applier,
    name: &str,
    plan: &AuthorityPlan,
    now: Timestamp,
) -> Result<Generations, Error> {
    let stored = applier.get::<Secret>(&key(name)).await?;
    let version = stored.as_ref().and_then(Secret::resource_version);
    let data = Data::from(stored.and_then(|secret| secret.data).unwrap_or_default());
    let before = match (data.text(CERTS), data.text(KEYS)) {
        (Some(certs), Some(keys)) => Generations::read(certs, keys)?,
        _ => Vec::new(),
    };
    let (generations, changed) = Generations::advance(before, plan, now)?;
    if changed {
        let mut data = Data::default();
        data.put(CERTS, generations.trusted_pem()?);
        data.put(KEYS, generations.keys_pem().as_str());
        let mut secret = secret(name, data);
        let api: Api<Secret> = Api::namespaced(applier.client().clone(), SYSTEM_NAMESPACE);
        // Somebody else who was first is a conflict: the next pass takes what they made.
        let (verb, written) = match version {
            None => ("create", api.create(&PostParams::default(), &secret).await),
            Some(version) => {
                secret.metadata.resource_version = Some(version);
                ("replace", api.replace(name, &PostParams::default(), &secret).await)
            }
        };
        written.map_err(|error| Error::call::<Secret>(verb, key(name), error))?;
    }
    Ok(generations)
}

/// Where a Secret of the cell is.
pub(crate) fn key(name: &str) -> Key {
    Key::namespaced(SYSTEM_NAMESPACE, name)
}

/// A Secret of the cell: it belongs to no tenant and goes with none.
pub(crate) fn secret(name: &str, data: Data) -> Secret {
    Secret {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            namespace: Some(SYSTEM_NAMESPACE.to_owned()),
            labels: Some(names::map([(labels::MANAGED_BY, labels::MANAGED_BY_SKEP)])),
            ..ObjectMeta::default()
        },
        type_: Some("Opaque".to_owned()),
        data: Some(data.into_map()),
        ..Secret::default()
    }
}
