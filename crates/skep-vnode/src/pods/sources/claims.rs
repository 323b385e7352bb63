//! From a PersistentVolumeClaim to a directory of this machine.

use std::collections::BTreeMap;
use std::path::PathBuf;

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, PodSpec};
use kube::{Api, Client};
use serde_json::json;

use super::bounded;
use crate::backend::SourceError;
use crate::pods::selector;

/// The directory behind a claim; `None` when the claim does not exist.
///
/// # Errors
/// `Unavailable` while the claim is not bound, `Refused` when its volume cannot be used on this node.
pub async fn directory(
    client: &Client,
    namespace: &str,
    name: &str,
    node: &str,
    labels: &BTreeMap<String, String>,
) -> Result<Option<PathBuf>, SourceError> {
    let what = format!("PersistentVolumeClaim {namespace}/{name}");
    let claims = Api::<PersistentVolumeClaim>::namespaced(client.clone(), namespace);
    let Some(claim) = bounded(&what, claims.get_opt(name)).await? else { return Ok(None) };
    let bound = claim.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Bound");
    let volume = claim.spec.as_ref().and_then(|spec| spec.volume_name.clone()).filter(|_| bound);
    let Some(volume) = volume else {
        return Err(SourceError::Unavailable(format!("{what} is not bound to a volume yet")));
    };
    let what = format!("PersistentVolume {volume} of claim {namespace}/{name}");
    let found = bounded(&what, Api::<PersistentVolume>::all(client.clone()).get_opt(&volume)).await?;
    let Some(found) = found else {
        return Err(SourceError::Unavailable(format!("{what} does not exist")));
    };
    path(&found, &what, node, labels).map(Some)
}

fn path(
    volume: &PersistentVolume,
    what: &str,
    node: &str,
    labels: &BTreeMap<String, String>,
) -> Result<PathBuf, SourceError> {
    let refused = |text: &str| Err(SourceError::Refused(format!("{what} {text}")));
    let Some(spec) = &volume.spec else { return refused("has no spec") };
    let local = spec.local.as_ref().map(|local| local.path.clone());
    let Some(path) = local.or_else(|| spec.host_path.as_ref().map(|host| host.path.clone())) else {
        return refused("is neither of type local nor hostPath, which is all this node can use");
    };
    let required = spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref());
    if let Some(required) = required {
        // The same rules as a pod's own node affinity, so the same code: as a spec with nothing but the affinity.
        let wrapped = json!({"containers": [], "affinity": {"nodeAffinity":
            {"requiredDuringSchedulingIgnoredDuringExecution": required}}});
        let fits = serde_json::from_value::<PodSpec>(wrapped)
            .is_ok_and(|spec| selector::matches(&spec, node, labels));
        if !fits {
            return refused(&format!("belongs to another node than {node}"));
        }
    }
    let path = PathBuf::from(path);
    let plain = path.is_absolute() && !path.components().any(|part| part == std::path::Component::ParentDir);
    if plain { Ok(path) } else { refused("has a path that is not absolute or contains `..`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(spec: serde_json::Value) -> Result<PathBuf, SourceError> {
        let labels = BTreeMap::from([("kubernetes.io/hostname".to_owned(), "skep-a".to_owned())]);
        let volume = serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap();
        path(&volume, "PersistentVolume v", "skep-a", &labels)
    }

    fn on(host: &str, path: &str) -> serde_json::Value {
        json!({"local": {"path": path}, "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions":
            [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}]}}})
    }

    #[test]
    fn a_volume_of_this_node_is_a_directory() {
        assert_eq!(check(on("skep-a", "/data/v")), Ok(PathBuf::from("/data/v")));
        assert_eq!(check(json!({"hostPath": {"path": "/srv"}})), Ok(PathBuf::from("/srv")));
    }

    #[test]
    fn other_nodes_kinds_and_paths_are_refused() {
        for spec in [
            on("skep-b", "/data/v"),
            json!({"nfs": {"server": "s", "path": "/"}}),
            on("skep-a", "/a/../etc"),
            on("skep-a", "a"),
        ] {
            assert!(matches!(check(spec.clone()), Err(SourceError::Refused(_))), "{spec}");
        }
    }
}
