//! The name of an object without its kind: what queues and caches are keyed by.

use std::fmt;

use kube::Resource;

/// Namespace and name of an object; the namespace is `None` for cluster-scoped kinds.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Namespace, `None` for cluster-scoped kinds.
    pub namespace: Option<Box<str>>,
    /// Name within the namespace.
    pub name: Box<str>,
}

impl Key {
    /// Key of a namespaced object.
    pub fn namespaced(namespace: impl Into<Box<str>>, name: impl Into<Box<str>>) -> Self {
        Self { namespace: Some(namespace.into()), name: name.into() }
    }

    /// Key of a cluster-scoped object.
    pub fn cluster(name: impl Into<Box<str>>) -> Self {
        Self { namespace: None, name: name.into() }
    }

    /// Key of an object as the API server returned it.
    ///
    /// An object that never reached a server may have no name; its key then has an empty one.
    pub fn of<K: Resource>(object: &K) -> Self {
        let meta = object.meta();
        Self {
            namespace: meta.namespace.as_deref().map(Into::into),
            name: meta.name.as_deref().unwrap_or_default().into(),
        }
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{namespace}/{}", self.name),
            None => f.write_str(&self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::api::core::v1::{ConfigMap, Namespace};

    #[test]
    fn key_of_both_scopes() {
        let mut config = ConfigMap::default();
        config.metadata.name = Some("a".into());
        config.metadata.namespace = Some("n".into());
        assert_eq!(Key::of(&config).to_string(), "n/a");
        assert_eq!(Key::of(&config), Key::namespaced("n", "a"));
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some("n".into());
        assert_eq!(Key::of(&namespace), Key::cluster("n"));
        assert_eq!(Key::of(&namespace).to_string(), "n");
    }
}
