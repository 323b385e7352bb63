//! As much of a node as decisions need.
//!
//! A real `Node` carries the names of all images on it, annotations of every plug-in and a heartbeat. Ten of them fit
//! where one of those would be, and a heartbeat alone is no news.

use std::borrow::Cow;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use kube::core::ClusterResourceScope;
use serde::{Deserialize, Deserializer};

/// Longest text kept of what a node says.
const LONGEST: usize = 256;
/// Conditions and addresses kept of one node: upstream's have five and four.
const MOST: usize = 16;

/// A node of a tenant cluster.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Node {
    /// Name, uid, version and times only.
    #[serde(deserialize_with = "bare")]
    pub metadata: ObjectMeta,
    /// What it was registered as.
    #[serde(default)]
    pub spec: Spec,
    /// What it reports.
    #[serde(default)]
    pub status: Status,
}

/// `spec` of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Spec {
    /// The machine it runs on.
    #[serde(rename = "providerID", deserialize_with = "short_option")]
    pub provider_id: Option<String>,
    /// No new pods.
    pub unschedulable: bool,
}

/// `status` of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// Conditions without their times.
    #[serde(deserialize_with = "few")]
    pub conditions: Vec<Condition>,
    /// Addresses.
    #[serde(deserialize_with = "few")]
    pub addresses: Vec<Address>,
    /// Versions.
    pub node_info: Info,
}

/// A condition of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// `Ready`, `MemoryPressure`, …
    #[serde(rename = "type", deserialize_with = "short")]
    pub type_: String,
    /// `True`, `False`, `Unknown`.
    #[serde(deserialize_with = "short")]
    pub status: String,
    /// One word.
    #[serde(deserialize_with = "short")]
    pub reason: String,
    /// A sentence.
    #[serde(deserialize_with = "short")]
    pub message: String,
}

/// An address of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(default)]
pub struct Address {
    /// `InternalIP`, `Hostname`, …
    #[serde(rename = "type", deserialize_with = "short")]
    pub type_: String,
    /// It.
    #[serde(deserialize_with = "short")]
    pub address: String,
}

/// Versions of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Info {
    /// Of the kubelet.
    #[serde(deserialize_with = "short")]
    pub kubelet_version: String,
    /// Of the container runtime.
    #[serde(deserialize_with = "short")]
    pub container_runtime_version: String,
    /// Of the kernel.
    #[serde(deserialize_with = "short")]
    pub kernel_version: String,
}

impl Node {
    /// Its condition `Ready`.
    pub fn ready(&self) -> Option<&Condition> {
        self.status.conditions.iter().find(|condition| condition.type_ == "Ready")
    }

    /// Whether it calls itself ready.
    pub fn is_ready(&self) -> bool {
        self.ready().is_some_and(|condition| condition.status == "True")
    }

    /// Whether its kubelet answers: it says how it is, be it good or bad. `Unknown` is what others say of a silent one.
    pub fn answers(&self) -> bool {
        self.ready().is_some_and(|condition| matches!(condition.status.as_str(), "True" | "False"))
    }

    /// Conditions that say that it will fail.
    pub fn failure_signs(&self) -> impl Iterator<Item = &Condition> {
        let is_sign =
            |one: &&Condition| one.status == "True" && skep_plan::repair::is_failure_sign(&one.type_);
        self.status.conditions.iter().filter(is_sign)
    }

    /// Its address in the nodes' network.
    pub fn internal_address(&self) -> Option<IpAddr> {
        let internal = self.status.addresses.iter().find(|address| address.type_ == "InternalIP")?;
        internal.address.parse().ok()
    }
}

impl Resource for Node {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind(_: &()) -> Cow<'_, str> {
        core::Node::kind(&())
    }

    fn group(_: &()) -> Cow<'_, str> {
        core::Node::group(&())
    }

    fn version(_: &()) -> Cow<'_, str> {
        core::Node::version(&())
    }

    fn plural(_: &()) -> Cow<'_, str> {
        core::Node::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

/// Metadata without labels and annotations, which people may fill as they like.
pub(super) fn bare<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let whole = ObjectMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: whole.name,
        namespace: whole.namespace,
        uid: whole.uid,
        resource_version: whole.resource_version,
        creation_timestamp: whole.creation_timestamp,
        deletion_timestamp: whole.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

/// A text of bounded length; null is empty.
pub(super) fn short<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    short_option(deserializer).map(Option::unwrap_or_default)
}

/// As [`short`], for what may be absent.
pub(super) fn short_option<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let mut text = Option::<String>::deserialize(deserializer)?;
    if let Some(text) = &mut text
        && text.len() > LONGEST
    {
        let end = (0..=LONGEST).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
        text.shrink_to_fit();
    }
    Ok(text)
}

/// A list of bounded length; null is empty.
pub(super) fn few<'de, D: Deserializer<'de>, T: Deserialize<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    let mut list = Option::<Vec<T>>::deserialize(deserializer)?.unwrap_or_default();
    list.truncate(MOST);
    list.shrink_to_fit();
    Ok(list)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn node(change: impl FnOnce(&mut Value)) -> Node {
        let mut value = json!({
            "metadata": {"name": "n", "uid": "u", "resourceVersion": "7", "labels": {"a": "b"}, "annotations": {"c": "d"}},
            "spec": {"providerID": "skep-local://n", "podCIDR": "10.244.0.0/24"},
            "status": {
                "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady", "message": "fine",
                    "lastHeartbeatTime": "2026-01-01T00:00:00Z"}],
                "addresses": [{"type": "Hostname", "address": "n"}, {"type": "InternalIP", "address": "198.19.1.7"}],
                "nodeInfo": {"kubeletVersion": "v1.36.3", "containerRuntimeVersion": "containerd://2.2.1",
                    "kernelVersion": "6.1", "machineID": "x"},
                "images": [{"names": ["a"], "sizeBytes": 1}],
            },
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_decisions_need_is_kept_and_nothing_else() {
        let node = node(|_| {});
        assert!(node.is_ready() && node.metadata.labels.is_none() && node.metadata.annotations.is_none());
        assert_eq!(node.internal_address(), "198.19.1.7".parse().ok());
        assert_eq!(node.spec.provider_id.as_deref(), Some("skep-local://n"));
        assert_eq!(node.status.node_info.container_runtime_version, "containerd://2.2.1");
        assert_eq!(Node::url_path(&(), None), "/api/v1/nodes");
    }

    #[test]
    fn a_heartbeat_is_no_news() {
        let beat =
            node(|n| n["status"]["conditions"][0]["lastHeartbeatTime"] = json!("2026-01-01T00:05:00Z"));
        assert_eq!(node(|_| {}).status, beat.status);
    }

    #[test]
    fn a_node_that_says_too_much_or_nothing_is_bounded_and_readable() {
        let loud = node(|n| {
            n["status"]["conditions"][0]["message"] = json!("ü".repeat(10_000));
            let many = vec![json!({"type": "InternalIP", "address": "x".repeat(10_000)}); 1000];
            n["status"]["addresses"] = Value::Array(many);
        });
        assert!(loud.status.conditions[0].message.len() <= LONGEST);
        assert_eq!((loud.status.addresses.len(), loud.status.addresses[0].address.len()), (MOST, LONGEST));
        assert_eq!(loud.internal_address(), None);
        let bare: Node = serde_json::from_value(json!({"metadata": {"name": "n"}})).unwrap();
        assert!(!bare.is_ready() && bare.ready().is_none());
        let null: Node =
            serde_json::from_value(json!({"metadata": {}, "status": {"conditions": null}})).unwrap();
        assert!(null.status.conditions.is_empty());
    }
}
