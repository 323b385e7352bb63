//! The tenant's authorities: read, made once, given new generations; never overwritten.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;
use kube::api::{Api, PostParams};
use skep_api::ControlPlane;
use skep_kubeops::Key;
use skep_plan::flags::Program;

use super::ControlPlaneReconciler;
use crate::pki::{Authorities, Data, Stored};
use crate::{Error, build, names};

impl ControlPlaneReconciler {
    /// The authorities as they are stored afterwards.
    pub(super) async fn authorities(
        &self,
        owner: &ControlPlane,
        stored: &Stored,
        now: Timestamp,
    ) -> Result<Authorities, Error> {
        let tenant = &owner.spec.tenant;
        let Some(data) = stored.get(names::AUTHORITIES) else {
            // They are the first thing that is made: whatever else is there was made from some that are gone.
            let witness =
                Program::ALL.iter().map(|program| program.name()).find(|name| stored.get(name).is_some());
            if let Some(witness) = witness {
                return Err(Error::AuthoritiesLost { witness: witness.to_owned() });
            }
            return self.make(owner, Authorities::generate(tenant, now)?, now).await;
        };
        let mut authorities = Authorities::read(data, now)?;
        if authorities.rotate(tenant, now)? {
            let mut secret = build::secret(owner, names::AUTHORITIES, authorities.to_data());
            secret.metadata.resource_version = stored.version(names::AUTHORITIES).map(str::to_owned);
            self.secrets(owner)
                .replace(names::AUTHORITIES, &PostParams::default(), &secret)
                .await
                .map_err(|error| failed("replace", owner, error))?;
        }
        Ok(authorities)
    }

    async fn make(
        &self,
        owner: &ControlPlane,
        made: Authorities,
        now: Timestamp,
    ) -> Result<Authorities, Error> {
        let secret = build::secret(owner, names::AUTHORITIES, made.to_data());
        match self.secrets(owner).create(&PostParams::default(), &secret).await {
            Ok(_) => Ok(made),
            // Another pass was first, perhaps our own whose answer was lost: what is stored counts.
            Err(error) if skep_kubeops::error::is_already_exists(&error) => {
                let key = Key::namespaced(owner.namespace().unwrap_or_default(), names::AUTHORITIES);
                match self.applier.get::<Secret>(&key).await? {
                    Some(stored) => Authorities::read(&Data::from(stored.data.unwrap_or_default()), now),
                    None => Err(failed("create", owner, error)),
                }
            }
            Err(error) => Err(failed("create", owner, error)),
        }
    }

    fn secrets(&self, owner: &ControlPlane) -> Api<Secret> {
        Api::namespaced(self.config.client.clone(), &owner.namespace().unwrap_or_default())
    }
}

fn failed(verb: &'static str, owner: &ControlPlane, source: kube::Error) -> Error {
    let object = format!("{}/{}", owner.namespace().unwrap_or_default(), names::AUTHORITIES);
    Error::call::<Secret>(verb, object, source)
}
