//! The objects every installation starts with, from `deploy/catalogue/`: the same files can be applied by hand.

use k8s_openapi::api::storage::v1::StorageClass;
use serde::de::DeserializeOwned;
use skep_api::{ClusterProfile, Datastore, MachineClass, Release, SizeClass};

use crate::{Error, Result};

/// What is installed.
#[derive(Clone, Debug)]
pub struct Catalogue {
    /// Size classes.
    pub size_classes: Vec<SizeClass>,
    /// Profiles.
    pub profiles: Vec<ClusterProfile>,
    /// Machine classes.
    pub machine_classes: Vec<MachineClass>,
    /// Releases.
    pub releases: Vec<Release>,
    /// Storage classes. They are there before the first claim: a claim without a class waits for a default.
    pub storage_classes: Vec<StorageClass>,
    /// Datastores.
    pub datastores: Vec<Datastore>,
}

/// Reads the embedded files.
///
/// # Errors
/// Only when this program was built with a broken file, which its tests exclude.
pub fn starter() -> Result<Catalogue> {
    Ok(Catalogue {
        size_classes: parse(include_str!("../../../deploy/catalogue/size-classes.yaml"))?,
        profiles: parse(include_str!("../../../deploy/catalogue/profiles.yaml"))?,
        machine_classes: parse(include_str!("../../../deploy/catalogue/machine-classes.yaml"))?,
        releases: parse(include_str!("../../../deploy/catalogue/releases.yaml"))?,
        storage_classes: parse(include_str!("../../../deploy/catalogue/storage-classes.yaml"))?,
        datastores: parse(include_str!("../../../deploy/catalogue/datastores.yaml"))?,
    })
}

fn parse<K: DeserializeOwned>(text: &str) -> Result<Vec<K>> {
    serde_saphyr::from_multiple(text)
        .map_err(|error| Error::Hub { what: "starter catalogue".into(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn everything_named_exists() {
        let all = starter().unwrap();
        let classes: BTreeSet<_> = all.size_classes.iter().filter_map(|c| c.metadata.name.clone()).collect();
        assert_eq!(classes.len(), 3);
        for profile in &all.profiles {
            assert!(classes.contains(&profile.spec.size_class), "{profile:?}");
        }
        let versions: BTreeSet<_> = all.releases.iter().map(|r| r.spec.kubernetes_version.as_str()).collect();
        assert_eq!(versions, skep_engine::KUBERNETES.into_iter().collect());
        for release in &all.releases {
            let image: skep_engine::ImageRef = release.spec.image.parse().unwrap();
            assert_eq!(image.tag(), release.spec.kubernetes_version);
        }
        let class = &all.storage_classes[0];
        assert_eq!(class.metadata.name.as_deref(), Some(skep_vnode::provisioner::STORAGE_CLASS));
        assert_eq!(class.provisioner, skep_vnode::provisioner::PROVISIONER);
        assert_eq!(all.datastores[0].metadata.namespace.as_deref(), Some(skep_api::SYSTEM_NAMESPACE));
        assert_eq!(all.datastores[0].spec.image, skep_engine::etcd_image().to_string());
    }

    #[test]
    fn a_larger_class_is_larger_in_everything() {
        let all = starter().unwrap().size_classes;
        for pair in all.windows(2) {
            let [small, large] = pair else { panic!() };
            assert!(small.spec.rank < large.spec.rank);
            assert!(
                small.spec.api_server.max_requests_inflight < large.spec.api_server.max_requests_inflight
            );
        }
    }
}
