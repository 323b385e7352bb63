//! Decoding that cannot fail for one bad object.

use std::{borrow::Cow, fmt};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::{Resource, core::PartialObjectMeta};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, Error as _, IgnoredAny, MapAccess, Visitor},
};
use serde_json::{Map, Value};

/// An object, or its metadata and the reason why the rest could not be read.
///
/// Does what kube's `DeserializeGuard` does with one JSON tree instead of two
/// generic ones, leaves out `managedFields`, and keeps metadata-only requests
/// metadata-only.
#[derive(Clone, Debug)]
pub struct Guard<K>(pub Result<K, Undecodable>);

/// An object that this version of the program cannot read.
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// Its metadata.
    pub metadata: ObjectMeta,
    /// What is wrong with it.
    pub error: String,
}

impl Undecodable {
    /// Its name.
    pub fn key(&self) -> crate::Key {
        crate::Key {
            namespace: self.metadata.namespace.as_deref().map(Into::into),
            name: self.metadata.name.as_deref().unwrap_or_default().into(),
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Guard<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let tree = deserializer.deserialize_map(Tree::Object)?;
        let error = match K::deserialize(&tree) {
            Ok(object) => return Ok(Self(Ok(object))),
            Err(error) => error.to_string(),
        };
        let metadata = PartialObjectMeta::<()>::deserialize(&tree).map_err(D::Error::custom)?.metadata;
        Ok(Self(Err(Undecodable { metadata, error })))
    }
}

/// Reads an object as a JSON tree without `metadata.managedFields`: nobody looks at them, and they are the larger half of
/// most objects. Thousands of small pieces that live for a moment would leave the heap full of holes.
enum Tree {
    Object,
    Metadata,
}

impl<'de> serde::de::DeserializeSeed<'de> for Tree {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Tree {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let value = match (&self, key.as_str()) {
                (Self::Object, "metadata") => entries.next_value_seed(Self::Metadata)?,
                (Self::Metadata, "managedFields") => {
                    entries.next_value::<IgnoredAny>()?;
                    continue;
                }
                _ => entries.next_value()?,
            };
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

impl<K: Resource> Resource for Guard<K> {
    type DynamicType = K::DynamicType;
    // Only used to build paths inside this crate: a namespace is given for namespaced kinds only.
    type Scope = NamespaceResourceScope;

    fn metadata_api() -> bool {
        K::metadata_api()
    }

    fn kind(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::kind(dt)
    }

    fn group(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::group(dt)
    }

    fn version(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::version(dt)
    }

    fn plural(dt: &Self::DynamicType) -> Cow<'_, str> {
        K::plural(dt)
    }

    fn meta(&self) -> &ObjectMeta {
        self.0.as_ref().map_or_else(|bad| &bad.metadata, K::meta)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.0.as_mut().map_or_else(|bad| &mut bad.metadata, K::meta_mut)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Pod};
    use serde_json::json;

    #[test]
    fn a_good_object_passes() {
        let guard: Guard<ConfigMap> =
            serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
        assert_eq!(guard.0.unwrap().data.unwrap()["k"], "v");
    }

    #[test]
    fn managed_fields_are_left_out_of_metadata_and_of_nothing_else() {
        let object = json!({
            "metadata": {"name": "a", "managedFields": [{"manager": "x"}]},
            "data": {"managedFields": "v"},
        });
        let object = serde_json::from_value::<Guard<ConfigMap>>(object).unwrap().0.unwrap();
        assert_eq!(object.data.unwrap()["managedFields"], "v");
        assert_eq!((object.metadata.name.as_deref(), object.metadata.managed_fields), (Some("a"), None));
    }

    #[test]
    fn a_bad_object_keeps_its_metadata() {
        let guard: Guard<Pod> = serde_json::from_value(json!({
            "metadata": {"name": "a", "namespace": "n", "managedFields": [{"manager": "x"}]},
            "spec": {"containers": "many"},
        }))
        .unwrap();
        assert_eq!(guard.meta().name.as_deref(), Some("a"));
        let bad = guard.0.unwrap_err();
        assert_eq!(bad.key(), crate::Key::namespaced("n", "a"));
        assert!(bad.metadata.managed_fields.is_none());
        assert!(bad.error.contains("invalid type"), "{}", bad.error);
    }

    #[test]
    fn metadata_only_stays_metadata_only() {
        assert!(Guard::<PartialObjectMeta<Pod>>::metadata_api());
        assert!(!Guard::<Pod>::metadata_api());
    }
}
