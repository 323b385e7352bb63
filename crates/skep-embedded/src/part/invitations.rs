//! Invitations of static machines, as Secrets beside their `Machine`: whoever may read Secrets of a project may bring
//! machines into its clusters.

use async_trait::async_trait;
use k8s_openapi::{ByteString, api::core::v1::Secret, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{
    Api, Client, ResourceExt as _,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use skep_agent::invitation::Invitation;
use skep_api::labels;
use skep_infra::{Order, static_machines::Invitations};

/// Label of the Secret: the machine's uid.
const MACHINE_UID: &str = "skep.dev/machine-uid";
/// Key of the invitation in its Secret.
pub const KEY: &str = "invitation";
const MANAGER: &str = "skep-static-machines";

/// Name of the Secret with a machine's invitation.
pub fn secret_name(machine: &str) -> String {
    format!("{machine}-join")
}

/// Invitations in a hub.
pub struct Secrets(pub Client);

impl Secrets {
    async fn list(&self, uid: &str) -> Result<Vec<Secret>, String> {
        let params = ListParams::default().labels(&format!("{MACHINE_UID}={uid}"));
        let api = Api::<Secret>::all(self.0.clone());
        api.list(&params).await.map(|list| list.items).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Invitations for Secrets {
    async fn put(&self, order: &Order, invitation: &Invitation) -> Result<(), String> {
        let text = invitation.to_text().map_err(|error| error.to_string())?;
        let name = secret_name(&order.name);
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let secret = Secret {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some(
                    [label(MACHINE_UID, &order.uid), label(labels::MANAGED_BY, labels::MANAGED_BY_SKEP)]
                        .into(),
                ),
                ..ObjectMeta::default()
            },
            data: Some([(KEY.to_owned(), ByteString(text.into_bytes()))].into()),
            type_: Some("skep.dev/invitation".to_owned()),
            ..Secret::default()
        };
        let api = Api::<Secret>::namespaced(self.0.clone(), &order.namespace);
        let params = PatchParams::apply(MANAGER).force();
        api.patch(&name, &params, &Patch::Apply(&secret)).await.map(drop).map_err(|error| error.to_string())
    }

    async fn find(&self, uid: &str) -> Result<Option<Invitation>, String> {
        let found = self.list(uid).await?;
        let text = found.first().and_then(|secret| secret.data.as_ref()?.get(KEY));
        let Some(text) = text else { return Ok(None) };
        // One that cannot be read is written anew.
        Ok(std::str::from_utf8(&text.0).ok().and_then(|text| Invitation::read(text).ok()))
    }

    async fn remove(&self, uid: &str) -> Result<(), String> {
        for secret in self.list(uid).await? {
            let api = Api::<Secret>::namespaced(self.0.clone(), &secret.namespace().unwrap_or_default());
            match api.delete(&secret.name_any(), &DeleteParams::default()).await {
                Err(error) if !skep_kubeops::error::is_not_found(&error) => return Err(error.to_string()),
                _ => {}
            }
        }
        Ok(())
    }
}
