//! One claim, one volume: the steps that can be repeated.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{ObjectReference, PersistentVolume, PersistentVolumeClaim};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::{DeleteParams, PostParams, Preconditions};
use skep_api::labels;

use super::claim::{self, Verdict, Wish, judge, node_of};
use super::controller::Provisioner;
use super::directory::{Directories, Marker};
use super::{PROVISIONER, STORAGE_CLASS};
use crate::backend::EventKind;
use crate::events::Record;
use crate::pods::sources::text;

/// The class that exists from the start.
pub fn storage_class() -> StorageClass {
    StorageClass {
        metadata: ObjectMeta {
            name: Some(STORAGE_CLASS.to_owned()),
            labels: Some(BTreeMap::from([(
                labels::MANAGED_BY.to_owned(),
                labels::MANAGED_BY_SKEP.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        provisioner: PROVISIONER.to_owned(),
        reclaim_policy: Some("Delete".to_owned()),
        // The directory lies on one node, so the pod's node has to be known first.
        volume_binding_mode: Some("WaitForFirstConsumer".to_owned()),
        ..StorageClass::default()
    }
}

impl Provisioner {
    /// Directory first, then the volume: a volume never names a directory that is not there.
    pub(super) async fn provision(&self, namespace: &str, name: &str) -> Result<(), String> {
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), namespace);
        let Some(claim) = claims.get_opt(name).await.map_err(|error| text(&error))? else { return Ok(()) };
        let wish = match judge(&claim) {
            Verdict::Make(wish) if self.nodes.contains(&wish.node) => wish,
            Verdict::Refuse(reason) => {
                self.event(&claim, EventKind::Warning, "ProvisioningFailed", reason);
                return Ok(());
            }
            Verdict::Make(_) | Verdict::Leave => return Ok(()),
        };
        let made = self.make(&claim, &wish, namespace, name).await;
        match &made {
            Ok(volume) => {
                let message = format!("Successfully provisioned volume {volume}");
                self.event(&claim, EventKind::Normal, "ProvisioningSucceeded", message);
            }
            Err(problem) => {
                let message =
                    format!("failed to provision volume with StorageClass {:?}: {problem}", wish.class);
                self.event(&claim, EventKind::Warning, "ProvisioningFailed", message);
            }
        }
        made.map(drop)
    }

    async fn make(
        &self,
        claim: &PersistentVolumeClaim,
        wish: &Wish,
        namespace: &str,
        name: &str,
    ) -> Result<String, String> {
        let volume_name = Directories::name_for(&wish.uid).map_err(|error| error.to_string())?;
        let marker = Marker {
            cluster: self.cluster.clone(),
            node: wish.node.clone(),
            namespace: namespace.to_owned(),
            claim: name.to_owned(),
            uid: wish.uid.clone(),
        };
        let directories = self.directories.clone();
        let data = {
            let name = volume_name.clone();
            blocking(move || directories.make(&name, &marker)).await?
        };
        let classes = Api::<StorageClass>::all(self.client.clone());
        let class = classes.get_opt(&wish.class).await.map_err(|error| text(&error))?;
        let volume = claim::volume(&volume_name, claim, wish, class.as_ref(), &data);
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        match volumes.create(&PostParams::default(), &volume).await {
            Ok(_) => {}
            // Made by an earlier pass: the name follows from the claim's uid.
            Err(kube::Error::Api(status)) if status.is_already_exists() => {}
            Err(error) => return Err(text(&error)),
        }
        self.directories.note_made(&volume_name).map_err(|error| error.to_string())?;
        Ok(volume_name)
    }

    /// Data first, then the volume: a volume that is gone has left nothing behind.
    pub(super) async fn reclaim(&self, name: &str) -> Result<(), String> {
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        let Some(volume) = volumes.get_opt(name).await.map_err(|error| text(&error))? else { return Ok(()) };
        if node_of(&volume).is_none_or(|node| !self.nodes.contains(node)) {
            return Ok(());
        }
        if !claim::is_over(&volume) {
            return self.directories.note_made(name).map_err(|error| error.to_string());
        }
        let expected = self.directories.data(name).map_err(|error| error.to_string())?;
        let path = volume.spec.as_ref().and_then(|spec| spec.local.as_ref()).map(|local| local.path.as_str());
        if path != expected.to_str() {
            return Err(format!(
                "volume {name} names another directory than {}: it is left alone",
                expected.display()
            ));
        }
        self.delete_directory(name).await?;
        let parameters = DeleteParams {
            preconditions: Some(Preconditions { uid: volume.metadata.uid.clone(), resource_version: None }),
            ..DeleteParams::default()
        };
        match volumes.delete(name, &parameters).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.is_not_found() || status.is_conflict() => Ok(()),
            Err(error) => Err(text(&error)),
        }
    }

    pub(super) async fn delete_directory(&self, name: &str) -> Result<(), String> {
        let (directories, name, cluster) = (self.directories.clone(), name.to_owned(), self.cluster.clone());
        blocking(move || directories.remove(&name, &cluster)).await
    }

    fn event(&self, claim: &PersistentVolumeClaim, kind: EventKind, reason: &str, message: String) {
        let regarding = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("PersistentVolumeClaim".to_owned()),
            namespace: claim.metadata.namespace.clone(),
            name: claim.metadata.name.clone(),
            uid: claim.metadata.uid.clone(),
            ..ObjectReference::default()
        };
        self.recorder.record(Record {
            regarding,
            kind,
            reason: reason.to_owned(),
            message,
            host: self.host.clone(),
        });
    }
}

/// File system work beside the event loop.
pub(super) async fn blocking<T, E>(work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, String>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err("the work on the directory was interrupted".to_owned()),
    }
}
