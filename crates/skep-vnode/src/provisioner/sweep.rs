//! Directories nobody needs: of claims that vanished between the making of the directory and the making of the volume,
//! and of volumes whose objects were deleted.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;

use super::controller::Provisioner;
use super::directory::Marker;
use super::volume::blocking;
use crate::pods::sources::text;

impl Provisioner {
    /// Looks at every directory once; at start.
    pub(super) async fn sweep(&self) -> Result<(), String> {
        for (name, marker) in self.scan().await? {
            self.sweep_one(&name, &marker).await?;
        }
        Ok(())
    }

    /// A volume was deleted whose data were to go with it.
    pub(super) async fn gone(&self, name: &str) -> Result<(), String> {
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        match volumes.get_metadata_opt(name).await.map_err(|error| text(&error))? {
            Some(_) => Ok(()),
            None => self.delete_directory(name).await,
        }
    }

    async fn scan(&self) -> Result<Vec<(String, Marker)>, String> {
        let directories = self.directories.clone();
        blocking(move || directories.scan()).await
    }

    async fn sweep_one(&self, name: &str, marker: &Marker) -> Result<(), String> {
        if marker.cluster != self.cluster || !self.nodes.contains(&marker.node) {
            return Ok(());
        }
        let volumes = Api::<PersistentVolume>::all(self.client.clone());
        if volumes.get_metadata_opt(name).await.map_err(|error| text(&error))?.is_some() {
            return Ok(());
        }
        if self.directories.was_made(name).map_err(|error| error.to_string())? {
            // Its object was deleted while nobody watched, so nobody knows its policy any more.
            tracing::warn!(
                volume = name,
                claim = marker.claim,
                "keeping data of a volume that is no longer in the API"
            );
            return Ok(());
        }
        // The claim is asked after the volume: a claim that still exists gets, or has just got, its volume.
        let claims = Api::<PersistentVolumeClaim>::namespaced(self.client.clone(), &marker.namespace);
        let claim = claims.get_metadata_opt(&marker.claim).await.map_err(|error| text(&error))?;
        if claim.is_some_and(|claim| claim.metadata.uid.as_deref() == Some(&marker.uid)) {
            return Ok(());
        }
        tracing::info!(volume = name, "deleting the directory of a volume that is gone");
        self.delete_directory(name).await
    }
}
