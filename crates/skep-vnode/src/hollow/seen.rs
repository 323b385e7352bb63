//! A pod as the watch brings it: what a hollow node needs is read, the rest is skipped while it is read.
//!
//! No tree of the whole object is ever made, and `managedFields`, volumes, environments and annotations, which are most of
//! a pod, never reach memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::{Deserialize, Deserializer, de::MapAccess, de::Visitor};

use super::fate::Ordered;
use super::node::HOLLOW;
use super::spec::Spec;

/// A pod.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Name, namespace, uid, version, generation, deletion.
    pub metadata: ObjectMeta,
    /// Where it runs.
    pub node: String,
    /// What its label orders.
    pub ordered: Option<Ordered>,
    /// What it should run.
    pub spec: Spec,
    /// What the API has been told of it.
    pub status: PodStatus,
}

#[derive(Deserialize)]
struct Raw {
    metadata: Meta,
    #[serde(default)]
    spec: RawSpec,
    #[serde(default)]
    status: PodStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Meta {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    deletion_timestamp: Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::Time>,
    deletion_grace_period_seconds: Option<i64>,
    labels: BTreeMap<String, String>,
}

/// A spec and the one field of it that pods of a template do not share.
#[derive(Default)]
struct RawSpec {
    node: String,
    spec: Spec,
}

impl<'de> Deserialize<'de> for RawSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = RawSpec;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("the spec of a pod")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RawSpec, A::Error> {
                let mut node = String::new();
                let rest = Rest { map, node: &mut node };
                let spec = Spec::deserialize(serde::de::value::MapAccessDeserializer::new(rest))?;
                Ok(RawSpec { node, spec })
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

/// The fields of a spec without `nodeName`, which is put aside.
struct Rest<'a, A> {
    map: A,
    node: &'a mut String,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Rest<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Self::Error> {
        while let Some(key) = self.map.next_key::<Cow<'de, str>>()? {
            if key == "nodeName" {
                *self.node = self.map.next_value()?;
                continue;
            }
            let key: serde::de::value::CowStrDeserializer<'de, Self::Error> =
                serde::de::value::CowStrDeserializer::new(key);
            return seed.deserialize(key).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<V: serde::de::DeserializeSeed<'de>>(
        &mut self,
        seed: V,
    ) -> Result<V::Value, Self::Error> {
        self.map.next_value_seed(seed)
    }
}

impl<'de> Deserialize<'de> for Seen {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        let ordered = metadata.labels.get(HOLLOW).and_then(|value| Ordered::parse(value));
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            deletion_timestamp: metadata.deletion_timestamp,
            deletion_grace_period_seconds: metadata.deletion_grace_period_seconds,
            ..ObjectMeta::default()
        };
        Ok(Self { metadata, node: spec.node, ordered, spec: spec.spec, status })
    }
}

impl Resource for Seen {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        Pod::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        Pod::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        Pod::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        Pod::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_needed_is_kept_and_nothing_else() {
        let text = json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "n", "uid": "u", "resourceVersion": "7", "generation": 2,
                "labels": {"app": "x", HOLLOW: "exit-3"}, "managedFields": [{"manager": "m"}]},
            "spec": {"volumes": [{"name": "v", "emptyDir": {}}], "nodeName": "h-1", "containers":
                [{"name": "c", "image": "i", "env": [{"name": "A"}], "readinessProbe": {"initialDelaySeconds": 5}}]},
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        });
        let seen: Seen = serde_json::from_str(&text.to_string()).unwrap();
        assert_eq!((seen.node.as_str(), seen.ordered), ("h-1", Some(Ordered::Exit(3))));
        assert!(seen.metadata.labels.is_none() && seen.metadata.managed_fields.is_none());
        let part = seen.spec.part(0).unwrap();
        assert_eq!((part.name.as_str(), part.readiness_probe.unwrap().initial_delay_seconds), ("c", 5));
        assert_eq!(seen.status.phase.as_deref(), Some("Pending"));
        assert_eq!(Seen::url_path(&(), Some("n")), "/api/v1/namespaces/n/pods");
        // Two pods of a template on different nodes share their spec.
        let mut other = text.clone();
        other["spec"]["nodeName"] = json!("h-2");
        assert_eq!(serde_json::from_value::<Seen>(other).unwrap().spec, seen.spec);
    }

    #[test]
    fn a_pod_without_anything_is_readable() {
        let seen: Seen = serde_json::from_value(json!({"metadata": {"name": "p"}})).unwrap();
        assert!(seen.node.is_empty() && seen.spec.parts().len() == 0);
    }
}
