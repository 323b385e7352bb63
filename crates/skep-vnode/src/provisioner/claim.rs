//! What a claim wants, and the volume it gets. Pure.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::core::v1::{
    LocalVolumeSource, NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, ObjectReference,
    PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, VolumeNodeAffinity,
};
use k8s_openapi::api::storage::v1::StorageClass;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use skep_api::labels;

use super::PROVISIONER;

/// Set by the volume controller on claims that wait for a provisioner; the second is its old name.
const ASKED: [&str; 2] =
    ["volume.kubernetes.io/storage-provisioner", "volume.beta.kubernetes.io/storage-provisioner"];
/// Set by the scheduler when it has chosen a node for the claim's first pod.
const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Says who made a volume; the volume controller leaves its deletion to that provisioner.
const PROVISIONED_BY: &str = "pv.kubernetes.io/provisioned-by";

/// A claim that is to get a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish {
    /// The node its pod will run on.
    pub node: String,
    /// Its class.
    pub class: String,
    /// Its uid.
    pub uid: String,
}

/// What to do about a claim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: bound, not ours, or not scheduled yet.
    Leave,
    /// Make a volume.
    Make(Wish),
    /// It asks for something that cannot be had; the text is for people.
    Refuse(String),
}

/// Looks at a claim.
#[must_use]
pub fn judge(claim: &PersistentVolumeClaim) -> Verdict {
    let (Some(spec), Some(uid)) = (&claim.spec, &claim.metadata.uid) else { return Verdict::Leave };
    let annotations = claim.metadata.annotations.as_ref();
    let annotation = |key: &str| annotations.and_then(|annotations| annotations.get(key));
    let ours = ASKED.iter().any(|key| annotation(key).is_some_and(|value| value == PROVISIONER));
    let bound = spec.volume_name.as_ref().is_some_and(|name| !name.is_empty());
    if !ours || bound || claim.metadata.deletion_timestamp.is_some() {
        return Verdict::Leave;
    }
    if spec.volume_mode.as_deref() == Some("Block") {
        return Verdict::Refuse(
            "volumes of this class are directories: volumeMode has to be Filesystem".to_owned(),
        );
    }
    let modes = spec.access_modes.as_deref().unwrap_or_default();
    if let Some(mode) =
        modes.iter().find(|mode| !matches!(mode.as_str(), "ReadWriteOnce" | "ReadWriteOncePod"))
    {
        return Verdict::Refuse(format!(
            "volumes of this class live on one node: access mode {mode} cannot be had, use ReadWriteOnce or ReadWriteOncePod"
        ));
    }
    if spec.data_source.is_some() || spec.data_source_ref.is_some() {
        return Verdict::Refuse("volumes of this class start empty: remove dataSource".to_owned());
    }
    match (annotation(SELECTED_NODE), &spec.storage_class_name) {
        (Some(node), Some(class)) if !node.is_empty() => {
            Verdict::Make(Wish { node: node.clone(), class: class.clone(), uid: uid.clone() })
        }
        _ => Verdict::Leave,
    }
}

/// The volume for a claim.
#[must_use]
pub fn volume(
    name: &str,
    claim: &PersistentVolumeClaim,
    wish: &Wish,
    class: Option<&StorageClass>,
    data: &Path,
) -> PersistentVolume {
    let spec = claim.spec.clone().unwrap_or_default();
    let capacity = spec.resources.and_then(|resources| resources.requests).unwrap_or_default();
    let policy = class.and_then(|class| class.reclaim_policy.clone()).unwrap_or_else(|| "Delete".to_owned());
    let hostname = NodeSelectorRequirement {
        key: "kubernetes.io/hostname".to_owned(),
        operator: "In".to_owned(),
        values: Some(vec![wish.node.clone()]),
    };
    PersistentVolume {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            annotations: Some(BTreeMap::from([(PROVISIONED_BY.to_owned(), PROVISIONER.to_owned())])),
            labels: Some(BTreeMap::from([(
                labels::MANAGED_BY.to_owned(),
                labels::MANAGED_BY_SKEP.to_owned(),
            )])),
            ..ObjectMeta::default()
        },
        spec: Some(PersistentVolumeSpec {
            capacity: Some(capacity.into_iter().filter(|(resource, _)| resource == "storage").collect()),
            access_modes: spec.access_modes,
            persistent_volume_reclaim_policy: Some(policy),
            storage_class_name: Some(wish.class.clone()),
            volume_mode: Some("Filesystem".to_owned()),
            local: Some(LocalVolumeSource { path: data.display().to_string(), fs_type: None }),
            node_affinity: Some(VolumeNodeAffinity {
                required: Some(NodeSelector {
                    node_selector_terms: vec![NodeSelectorTerm {
                        match_expressions: Some(vec![hostname]),
                        ..NodeSelectorTerm::default()
                    }],
                }),
            }),
            claim_ref: Some(ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("PersistentVolumeClaim".to_owned()),
                namespace: claim.metadata.namespace.clone(),
                name: claim.metadata.name.clone(),
                uid: claim.metadata.uid.clone(),
                ..ObjectReference::default()
            }),
            ..PersistentVolumeSpec::default()
        }),
        ..PersistentVolume::default()
    }
}

/// Whether this provisioner made the volume, and for which node.
#[must_use]
pub fn node_of(volume: &PersistentVolume) -> Option<&str> {
    let annotations = volume.metadata.annotations.as_ref()?;
    if annotations.get(PROVISIONED_BY).is_none_or(|by| by != PROVISIONER) {
        return None;
    }
    let affinity = volume.spec.as_ref()?.node_affinity.as_ref()?.required.as_ref()?;
    let rules = affinity.node_selector_terms.first()?.match_expressions.as_ref()?;
    let rule = rules.iter().find(|rule| rule.key == "kubernetes.io/hostname")?;
    rule.values.as_ref()?.first().map(String::as_str)
}

/// Whether the volume's data are to be deleted now.
#[must_use]
pub fn is_over(volume: &PersistentVolume) -> bool {
    let phase = volume.status.as_ref().and_then(|status| status.phase.as_deref());
    deletes(volume) && matches!(phase, Some("Released" | "Failed"))
}

/// Whether the data go with the volume.
#[must_use]
pub fn deletes(volume: &PersistentVolume) -> bool {
    volume.spec.as_ref().and_then(|spec| spec.persistent_volume_reclaim_policy.as_deref()) == Some("Delete")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn claim(spec: Value, node: Option<&str>) -> PersistentVolumeClaim {
        let mut annotations = json!({ASKED[0]: PROVISIONER});
        if let Some(node) = node {
            annotations[SELECTED_NODE] = json!(node);
        }
        let mut whole = json!({"storageClassName": "skep-local", "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}}});
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        serde_json::from_value(json!({"metadata": {"name": "c", "namespace": "n", "uid": "u-1",
            "annotations": annotations}, "spec": whole}))
        .unwrap()
    }

    #[test]
    fn only_scheduled_unbound_claims_of_ours_are_served() {
        assert!(
            matches!(judge(&claim(json!({}), Some("skep-a"))), Verdict::Make(wish) if wish.node == "skep-a")
        );
        assert_eq!(judge(&claim(json!({}), None)), Verdict::Leave);
        assert_eq!(judge(&claim(json!({"volumeName": "v"}), Some("skep-a"))), Verdict::Leave);
        let mut foreign = claim(json!({}), Some("skep-a"));
        foreign.metadata.annotations = None;
        assert_eq!(judge(&foreign), Verdict::Leave);
    }

    #[test]
    fn what_a_directory_cannot_be_is_refused_with_a_reason() {
        for spec in [
            json!({"volumeMode": "Block"}),
            json!({"accessModes": ["ReadWriteMany"]}),
            json!({"dataSource": {"kind": "VolumeSnapshot", "name": "s"}}),
        ] {
            assert!(
                matches!(judge(&claim(spec.clone(), Some("a"))), Verdict::Refuse(text) if !text.is_empty()),
                "{spec}"
            );
        }
    }

    #[test]
    fn the_volume_belongs_to_claim_and_node() {
        let claim = claim(json!({}), Some("skep-a"));
        let Verdict::Make(wish) = judge(&claim) else { panic!() };
        let mut made = volume("pvc-u-1", &claim, &wish, None, Path::new("/v/pvc-u-1/data"));
        assert_eq!(node_of(&made), Some("skep-a"));
        let spec = made.spec.as_ref().unwrap();
        assert_eq!(spec.claim_ref.as_ref().unwrap().uid.as_deref(), Some("u-1"));
        assert_eq!(spec.capacity.as_ref().unwrap()["storage"].0, "1Gi");
        assert!(deletes(&made) && !is_over(&made));
        made.status = serde_json::from_value(json!({"phase": "Released"})).unwrap();
        assert!(is_over(&made));
        made.spec.as_mut().unwrap().persistent_volume_reclaim_policy = Some("Retain".into());
        assert!(!is_over(&made));
    }
}
