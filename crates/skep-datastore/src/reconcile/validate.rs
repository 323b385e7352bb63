//! The spec of a `Datastore`, parsed: what the later steps take cannot be wrong any more.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kube::{Resource, ResourceExt};
use skep_api::resources::ResourceBundle;
use skep_api::{Datastore, labels};
use skep_kubeops::Key;
use skep_plan::address::{PodNetwork, StableHost};

use crate::{Config, Error, Result};

/// Port of etcd's clients.
pub(crate) const CLIENT_PORT: u16 = 2379;
/// Port between members.
pub(crate) const PEER_PORT: u16 = 2380;
/// Port of metrics and probes, without TLS and without anything of a tenant.
pub(crate) const METRICS_PORT: u16 = 2381;
/// Port of etcd's other HTTP pages, with TLS. They get a port of their own so that gRPC has its own to itself: shared,
/// etcd serves both through Go's slower HTTP/2 server.
pub(crate) const HTTP_PORT: u16 = 2382;
/// Smallest quota; an empty Kubernetes fills about 1 MiB, and etcd's own pages take some.
const SMALLEST_QUOTA: u64 = 64 << 20;

/// A datastore as it is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub key: Key,
    pub namespace: String,
    pub name: String,
    pub uid: String,
    owner: OwnerReference,
    pub image: String,
    pub quota: u64,
    pub storage_size: String,
    pub storage_class: Option<String>,
    pub resources: ResourceBundle,
    /// How the one member is reached; its certificates name it.
    pub host: StableHost,
    pub network: PodNetwork,
}

impl Wanted {
    /// Reads a `Datastore`.
    ///
    /// # Errors
    /// [`Error::InvalidDatastore`] with the field and what is allowed.
    pub(crate) fn of(datastore: &Datastore, config: &Config) -> Result<Self> {
        let key = Key::of(datastore);
        let invalid = |reason: String| Error::InvalidDatastore { datastore: key.to_string(), reason };
        let namespace = datastore.namespace().unwrap_or_default();
        let name = datastore.name_any();
        let spec = &datastore.spec;
        let bytes = |field: &str, text: &str| {
            bytes(text).ok_or_else(|| invalid(format!("{field} {text:?} is no size; write it like 8Gi")))
        };
        let (quota, storage) = (bytes("quota", &spec.quota)?, bytes("storage.size", &spec.storage.size)?);
        if quota < SMALLEST_QUOTA {
            return Err(invalid(format!("quota {} is too small; give it 64Mi or more", spec.quota)));
        }
        if quota > storage {
            return Err(invalid(format!(
                "quota {} does not fit on storage.size {}; lower the quota, or make a datastore with a larger disk",
                spec.quota, spec.storage.size
            )));
        }
        let owner = datastore
            .controller_owner_ref(&())
            .ok_or_else(|| invalid("it has no name or uid; create it through the API server".to_owned()))?;
        let host = config.network.stable_host(&namespace, &name, &pod(&name));
        Ok(Self {
            uid: owner.uid.clone(),
            owner,
            image: spec.image.clone(),
            quota,
            storage_size: spec.storage.size.clone(),
            storage_class: spec.storage.class.clone().or_else(|| config.storage_class.clone()),
            resources: spec.resources.clone(),
            host,
            network: config.network,
            key,
            namespace,
            name,
        })
    }

    /// Client URLs.
    pub(crate) fn endpoints(&self) -> Vec<String> {
        vec![self.host.https(CLIENT_PORT)]
    }

    /// Name of the one member: that of its pod.
    pub(crate) fn member(&self) -> String {
        pod(&self.name)
    }

    /// Labels of everything that belongs to this datastore.
    pub(crate) fn labels(&self) -> Vec<(&'static str, &str)> {
        vec![
            (labels::MANAGED_BY, labels::MANAGED_BY_SKEP),
            (labels::COMPONENT, labels::component::ETCD),
            (labels::DATASTORE, &self.name),
        ]
    }

    /// Metadata of an object that goes when the datastore goes.
    pub(crate) fn meta(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta { owner_references: Some(vec![self.owner.clone()]), ..self.unowned_meta(name) }
    }

    /// Metadata of an object that others own, or that outlives everything.
    pub(crate) fn unowned_meta(&self, name: impl Into<String>) -> ObjectMeta {
        ObjectMeta {
            name: Some(name.into()),
            namespace: Some(self.namespace.clone()),
            labels: Some(self.labels().into_iter().map(|(k, v)| (k.to_owned(), v.to_owned())).collect()),
            ..ObjectMeta::default()
        }
    }
}

/// Name of the first pod of a datastore's StatefulSet.
pub(crate) fn pod(datastore: &str) -> String {
    format!("{datastore}-0")
}

/// A Kubernetes quantity of bytes; `None` when it is none or does not fit.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor: u128 = match unit {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u128.pow(2),
        "G" => 1000_u128.pow(3),
        "T" => 1000_u128.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || part.len() > 9 || number.ends_with('.') {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(part.len()).ok()?);
    let parts = if part.is_empty() { 0 } else { part.parse::<u128>().ok()? };
    let scaled = whole.parse::<u128>().ok()?.checked_mul(scale)?.checked_add(parts)?;
    u64::try_from(scaled.checked_mul(factor)? / scale).ok()
}

#[cfg(test)]
pub(crate) mod tests {
    use serde_json::json;
    use skep_plan::address::LoopbackNet;

    use super::*;

    /// A datastore as an API server returns it.
    pub(crate) fn datastore() -> Datastore {
        serde_json::from_value(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "Datastore",
            "metadata": {"name": "main", "namespace": "skep-system", "uid": "0b5c-uid", "generation": 3},
            "spec": {
                "class": "Shared", "image": "skep.dev/etcd:v3.7.3", "quota": "8Gi", "maxTenants": 500,
                "storage": {"size": "10Gi"},
                "resources": {"cpuRequest": "100m", "memoryRequest": "128Mi", "memoryLimit": "1Gi", "goMemLimit": "900MiB"},
            },
        }))
        .unwrap()
    }

    pub(crate) fn config() -> Config {
        Config::new(PodNetwork::Loopback(LoopbackNet::new(64).unwrap()))
    }

    pub(crate) fn wanted() -> Wanted {
        Wanted::of(&datastore(), &config()).unwrap()
    }

    #[test]
    fn what_cannot_be_built_is_refused_with_the_field() {
        let refused = |change: fn(&mut Datastore)| {
            let mut datastore = datastore();
            change(&mut datastore);
            Wanted::of(&datastore, &config()).unwrap_err().to_string()
        };
        assert!(refused(|d| d.spec.quota = "8Gib".into()).contains("quota \"8Gib\" is no size"));
        assert!(refused(|d| d.spec.quota = "1Mi".into()).contains("too small"));
        assert!(refused(|d| d.spec.quota = "11Gi".into()).contains("does not fit on storage.size 10Gi"));
        assert!(refused(|d| d.spec.storage.size = "x".into()).contains("storage.size"));
        assert!(refused(|d| d.metadata.uid = None).contains("SKEP-5005"));
    }

    #[test]
    fn the_storage_class_of_the_spec_comes_first() {
        let mut datastore = datastore();
        let config = Config { storage_class: Some("cell".into()), ..config() };
        let class = |d: &Datastore| Wanted::of(d, &config).unwrap().storage_class;
        assert_eq!(class(&datastore).as_deref(), Some("cell"));
        datastore.spec.storage.class = Some("fast".into());
        assert_eq!(class(&datastore).as_deref(), Some("fast"));
    }

    #[test]
    fn sizes_as_kubernetes_reads_them() {
        for (text, expected) in [
            ("8Gi", Some(8 << 30)),
            ("1.5Gi", Some(3 << 29)),
            ("100M", Some(100_000_000)),
            ("65536k", Some(65_536_000)),
            ("1048576", Some(1 << 20)),
            ("1Ti", Some(1 << 40)),
            ("100m", None),
            ("", None),
            ("Gi", None),
            ("1.", None),
            ("1.2.3Gi", None),
            ("99999999999999999999Ti", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
