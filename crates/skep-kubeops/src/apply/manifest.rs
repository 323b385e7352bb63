//! Manifests of kinds that are known by name only: files that people read and edit.

use kube::{
    api::{Patch, PatchParams},
    core::Request,
};
use serde_json::Value;

use super::{ATTEMPTS, Applier};
use crate::{
    Result,
    error::{Error, is_conflict},
};

/// What happens to fields that somebody else has set since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Force {
    /// They become what the manifest says.
    Take,
    /// The object stays as it is.
    Yield,
}

/// Kinds that a manifest may be of: kind, plural, whether it has a namespace.
const KINDS: &[(&str, &str, bool)] = &[
    ("APIService", "apiservices", false),
    ("ClusterProfile", "clusterprofiles", false),
    ("ClusterRole", "clusterroles", false),
    ("ClusterRoleBinding", "clusterrolebindings", false),
    ("ConfigMap", "configmaps", true),
    ("CustomResourceDefinition", "customresourcedefinitions", false),
    ("DaemonSet", "daemonsets", true),
    ("Datastore", "datastores", true),
    ("Deployment", "deployments", true),
    ("MachineClass", "machineclasses", false),
    ("Namespace", "namespaces", false),
    ("PodDisruptionBudget", "poddisruptionbudgets", true),
    ("Release", "releases", false),
    ("Role", "roles", true),
    ("RoleBinding", "rolebindings", true),
    ("Service", "services", true),
    ("ServiceAccount", "serviceaccounts", true),
    ("SizeClass", "sizeclasses", false),
    ("StorageClass", "storageclasses", false),
    ("ValidatingAdmissionPolicy", "validatingadmissionpolicies", false),
    ("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", false),
];

/// The path of the objects of a manifest's kind, in its namespace.
///
/// # Errors
/// [`Error::Incomplete`]: its kind, version or namespace is missing or not one that a manifest may have.
#[allow(clippy::result_large_err)] // As for all errors of this crate.
pub fn path_of(manifest: &Value) -> Result<String> {
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_owned);
    let kind = text(&manifest["kind"]).unwrap_or_default();
    let missing = |field| Error::Incomplete { verb: "apply", kind: kind.clone(), field };
    let (_, plural, namespaced) =
        KINDS.iter().find(|(known, ..)| *known == kind).ok_or_else(|| missing("a known kind"))?;
    let version = text(&manifest["apiVersion"]).ok_or_else(|| missing("apiVersion"))?;
    text(&manifest["metadata"]["name"]).ok_or_else(|| missing("metadata.name"))?;
    let root = if version.contains('/') { "apis" } else { "api" };
    if !namespaced {
        return Ok(format!("/{root}/{version}/{plural}"));
    }
    let namespace = text(&manifest["metadata"]["namespace"]).ok_or_else(|| missing("metadata.namespace"))?;
    Ok(format!("/{root}/{version}/namespaces/{namespace}/{plural}"))
}

impl Applier {
    /// Applies a manifest of one of a few built-in kinds.
    ///
    /// # Errors
    /// As [`Applier::apply`]. With [`Force::Yield`] it is no error that somebody else has set a field.
    pub async fn apply_manifest(&self, manifest: &Value, force: Force) -> Result<()> {
        let request = Request::new(path_of(manifest)?);
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let name = text(&manifest["metadata"]["name"]);
        let failed = |source| Error::Api {
            verb: "apply",
            kind: text(&manifest["kind"]),
            object: name.clone(),
            source,
        };
        let mut params = PatchParams::apply(self.manager);
        params.force = force == Force::Take;
        let mut attempt = 1;
        loop {
            let request = request.patch(&name, &params, &Patch::Apply(manifest));
            let request = request.map_err(|error| failed(kube::Error::BuildRequest(error)))?;
            match self.client.request::<Value>(request).await {
                Ok(_) => return Ok(()),
                Err(error) if is_conflict(&error) && force == Force::Yield => return Ok(()),
                Err(error) if is_conflict(&error) && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn paths() {
        for (version, kind, namespace, path) in [
            ("v1", "ConfigMap", "a", Ok("/api/v1/namespaces/a/configmaps")),
            ("apps/v1", "Deployment", "a", Ok("/apis/apps/v1/namespaces/a/deployments")),
            (
                "rbac.authorization.k8s.io/v1",
                "ClusterRole",
                "",
                Ok("/apis/rbac.authorization.k8s.io/v1/clusterroles"),
            ),
            ("v1", "ConfigMap", "", Err("metadata.namespace")),
            ("", "ConfigMap", "a", Err("apiVersion")),
            ("v1", "Secret", "a", Err("a known kind")),
        ] {
            let manifest = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x", "namespace": namespace}});
            match (path_of(&manifest), path) {
                (Ok(found), Ok(path)) => assert_eq!(found, path),
                (Err(error), Err(field)) => assert!(error.to_string().contains(field), "{error}"),
                (found, expected) => panic!("{kind}: {found:?} instead of {expected:?}"),
            }
        }
    }
}
