//! The pods of a node as its HTTPS endpoint sees them: by name, read often, written by the agent only.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use k8s_openapi::api::core::v1::{Pod, PodStatus};

use crate::backend::PodUid;

/// One pod.
#[derive(Clone)]
pub struct Row {
    /// Its uid.
    pub uid: PodUid,
    /// The pod without its status.
    pub pod: Arc<Pod>,
    /// Its status as the API server has it.
    pub status: Arc<PodStatus>,
    /// The address this node gave it.
    pub ip: Option<IpAddr>,
}

impl Row {
    /// Whether the pod has a container, init container or sidecar of this name.
    #[must_use]
    pub fn has_container(&self, name: &str) -> bool {
        let Some(spec) = &self.pod.spec else { return false };
        spec.containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .any(|container| container.name == name)
    }

    /// The pod with its status, as the API shows it.
    #[must_use]
    pub fn whole(&self) -> Pod {
        Pod { status: Some((*self.status).clone()), ..(*self.pod).clone() }
    }
}

/// By namespace and name.
type Key = (String, String);

/// The pods of one node.
#[derive(Default)]
pub struct PodTable {
    rows: RwLock<HashMap<Key, Row>>,
}

impl PodTable {
    /// The pod of this name.
    #[must_use]
    pub fn find(&self, namespace: &str, name: &str) -> Option<Row> {
        self.read(|rows| rows.get(&(namespace.to_owned(), name.to_owned())).cloned())
    }

    /// All pods, in no order.
    #[must_use]
    pub fn all(&self) -> Vec<Row> {
        self.read(|rows| rows.values().cloned().collect())
    }

    pub(super) fn set(&self, row: Row) {
        if let Some(key) = key(&row.pod) {
            self.rows.write().unwrap_or_else(PoisonError::into_inner).insert(key, row);
        }
    }

    /// Takes the pod out, unless another one has taken its name by now.
    pub(super) fn remove(&self, pod: &Pod, uid: &PodUid) {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = key(pod)
            && rows.get(&key).is_some_and(|row| row.uid == *uid)
        {
            rows.remove(&key);
        }
    }

    fn read<T>(&self, f: impl FnOnce(&HashMap<Key, Row>) -> T) -> T {
        f(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn key(pod: &Pod) -> Option<Key> {
    Some((pod.metadata.namespace.clone()?, pod.metadata.name.clone()?))
}
