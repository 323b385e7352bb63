//! Which objects a pod refers to, so that the node half knows what to watch.

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::{Container, PodSpec, Volume};

/// An object in the pod's own namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reference {
    /// A configMap by name.
    ConfigMap(String),
    /// A secret by name.
    Secret(String),
    /// A PersistentVolumeClaim by name.
    Claim(String),
}

/// Every configMap, secret and claim the pod's environment and volumes name, optional ones included. `pod_name` is
/// needed for generic ephemeral volumes, whose claim is `<pod>-<volume>`.
pub fn references(pod_name: &str, spec: &PodSpec) -> BTreeSet<Reference> {
    let mut found = BTreeSet::new();
    for volume in spec.volumes.iter().flatten() {
        of_volume(pod_name, volume, &mut found);
    }
    for container in spec.init_containers.iter().flatten().chain(&spec.containers) {
        of_container(container, &mut found);
    }
    found
}

fn of_volume(pod_name: &str, volume: &Volume, found: &mut BTreeSet<Reference>) {
    if let Some(name) = volume.secret.as_ref().and_then(|s| s.secret_name.clone()) {
        found.insert(Reference::Secret(name));
    }
    if let Some(map) = &volume.config_map {
        found.insert(Reference::ConfigMap(map.name.clone()));
    }
    if let Some(claim) = &volume.persistent_volume_claim {
        found.insert(Reference::Claim(claim.claim_name.clone()));
    }
    if volume.ephemeral.is_some() {
        found.insert(Reference::Claim(format!("{pod_name}-{}", volume.name)));
    }
    for source in volume.projected.iter().flat_map(|p| p.sources.iter().flatten()) {
        if let Some(secret) = &source.secret {
            found.insert(Reference::Secret(secret.name.clone()));
        }
        if let Some(map) = &source.config_map {
            found.insert(Reference::ConfigMap(map.name.clone()));
        }
    }
}

fn of_container(container: &Container, found: &mut BTreeSet<Reference>) {
    for source in container.env_from.iter().flatten() {
        if let Some(secret) = &source.secret_ref {
            found.insert(Reference::Secret(secret.name.clone()));
        }
        if let Some(map) = &source.config_map_ref {
            found.insert(Reference::ConfigMap(map.name.clone()));
        }
    }
    for from in container.env.iter().flatten().filter_map(|e| e.value_from.as_ref()) {
        if let Some(secret) = &from.secret_key_ref {
            found.insert(Reference::Secret(secret.name.clone()));
        }
        if let Some(map) = &from.config_map_key_ref {
            found.insert(Reference::ConfigMap(map.name.clone()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_every_kind_of_reference() {
        let spec: PodSpec = serde_json::from_value(serde_json::json!({
            "volumes": [
                {"name": "a", "secret": {"secretName": "s1"}},
                {"name": "b", "configMap": {"name": "m1"}},
                {"name": "c", "persistentVolumeClaim": {"claimName": "c1"}},
                {"name": "d", "ephemeral": {}},
                {"name": "e", "projected": {"sources": [{"secret": {"name": "s2"}}, {"configMap": {"name": "m2"}}]}},
                {"name": "f", "emptyDir": {}}
            ],
            "initContainers": [{"name": "i", "envFrom": [{"secretRef": {"name": "s3"}}, {"configMapRef": {"name": "m3"}}]}],
            "containers": [{"name": "x", "env": [
                {"name": "A", "valueFrom": {"secretKeyRef": {"name": "s4", "key": "k"}}},
                {"name": "B", "valueFrom": {"configMapKeyRef": {"name": "m4", "key": "k"}}},
                {"name": "C", "value": "plain"}
            ]}]
        }))
        .unwrap();
        let names: Vec<String> = references("web-0", &spec).iter().map(|r| format!("{r:?}")).collect();
        assert_eq!(
            names,
            [
                "ConfigMap(\"m1\")",
                "ConfigMap(\"m2\")",
                "ConfigMap(\"m3\")",
                "ConfigMap(\"m4\")",
                "Secret(\"s1\")",
                "Secret(\"s2\")",
                "Secret(\"s3\")",
                "Secret(\"s4\")",
                "Claim(\"c1\")",
                "Claim(\"web-0-d\")"
            ]
        );
    }
}
