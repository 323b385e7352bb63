//! The end of a `Datastore`: refused while it holds a tenant, complete when it does not.
//!
//! Guarantees: a disk is deleted only after etcd itself said that nobody is in it, or when etcd never answered, so that
//! nobody can be. What cannot be asked is kept.

use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::PersistentVolumeClaim;
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use skep_api::{ControlPlane, Datastore, labels};
use skep_kubeops::{Key, Next, finalizer};

use super::build::DATA;
use super::settle::Store;
use super::status::{Pass, Reason};
use super::validate::pod;
use super::{DatastoreReconciler, LOOK, settle};
use crate::datastores::{answered, reference};
use crate::{Error, Result};

/// Names shown in a message; the rest is counted.
const SHOWN: usize = 3;

impl DatastoreReconciler {
    /// One pass over a `Datastore` that is to be deleted.
    pub(super) async fn tear_down(&self, datastore: &Datastore) -> Result<Next> {
        if !finalizer::has(datastore, labels::finalizer::DATASTORE) {
            return Ok(Next::Done);
        }
        if let Some(reason) = self.occupied(datastore).await? {
            let error = Error::DatastoreInUse { datastore: Key::of(datastore).to_string(), reason };
            let pass = Pass { refusal: Some((Reason::InUse, error.to_string())), ..Pass::refused(&error) };
            self.report(datastore, &pass).await?;
            self.warn(datastore, &error);
            // The last tenant to leave brings it sooner.
            return Ok(Next::After(LOOK));
        }
        let (namespace, name) = (datastore.namespace().unwrap_or_default(), datastore.name_any());
        let member = Key::namespaced(namespace.as_str(), name.as_str());
        let disk = Key::namespaced(namespace.as_str(), format!("{DATA}-{}", pod(&name)));
        // The disk goes when the pod that uses it is gone; everything else goes with its owner.
        self.applier.delete_if_exists::<StatefulSet>(&member, None).await?;
        self.applier.delete_if_exists::<PersistentVolumeClaim>(&disk, None).await?;
        self.datastores.forget(&member);
        let api: Api<Datastore> = Api::namespaced(self.applier.client().clone(), &namespace);
        finalizer::remove(&api, datastore, labels::finalizer::DATASTORE).await?;
        Ok(Next::Done)
    }

    /// Who is still in the datastore and what to do about it; `None` when it is empty.
    async fn occupied(&self, datastore: &Datastore) -> Result<Option<String>> {
        let own = reference(datastore);
        let all: Api<ControlPlane> = Api::all(self.applier.client().clone());
        let listed = all.list(&ListParams::default()).await;
        let listed =
            listed.map_err(|e| skep_kubeops::Error::api::<ControlPlane>("list", "of the cell", e))?;
        let users: Vec<String> =
            listed.items.iter().filter(|c| c.spec.datastore == own).map(|c| c.spec.tenant.clone()).collect();
        if !users.is_empty() {
            return Ok(Some(format!("it holds {}; delete their clusters first", several(&users))));
        }
        if !answered(datastore) {
            return Ok(None);
        }
        Ok(match settle::close(&self.datastores, &own).await {
            Store::Answering(answer) if answer.tenants.is_empty() => None,
            Store::Answering(answer) => Some(format!(
                "it holds keys of {}, whose control planes are gone; remove their users, roles and keys from etcd, \
                 or keep the datastore",
                several(&answer.tenants)
            )),
            Store::Silent(why) | Store::Unknown(why) => Some(format!(
                "its etcd cannot be asked whether it holds tenants ({why}); bring it back, or accept the loss of its \
                 data by removing the finalizer {}",
                labels::finalizer::DATASTORE
            )),
        })
    }
}

/// "2 tenants (a, b)".
fn several(names: &[String]) -> String {
    let shown = names.iter().take(SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => format!("1 tenant ({shown})"),
        n if n <= SHOWN => format!("{n} tenants ({shown})"),
        n => format!("{n} tenants ({shown} and {} more)", n - SHOWN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_list_is_counted() {
        let names = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
        assert_eq!(several(&names(1)), "1 tenant (t0)");
        assert_eq!(several(&names(3)), "3 tenants (t0, t1, t2)");
        assert_eq!(several(&names(5)), "5 tenants (t0, t1, t2 and 2 more)");
    }
}
