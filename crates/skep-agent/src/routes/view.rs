//! What is kept of a Node: whose pods are where.

use std::{borrow::Cow, net::Ipv4Addr};

use ipnet::Ipv4Net;
use k8s_openapi::{ClusterResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::Resource;
use serde::{Deserialize, Deserializer};

/// A Node without everything that routes do not need: of thousands of nodes, labels, images and conditions would fill
/// memory on each of them.
#[derive(Clone, Debug)]
pub(crate) struct NodeView {
    /// Name, uid and version; nothing else.
    metadata: ObjectMeta,
    /// `spec.podCIDR`.
    pub(super) range: Option<Ipv4Net>,
    /// The first `InternalIP`.
    pub(super) address: Option<Ipv4Addr>,
}

impl NodeView {
    /// Its name.
    pub(super) fn name(&self) -> &str {
        self.metadata.name.as_deref().unwrap_or_default()
    }

    #[cfg(test)]
    pub(super) fn new(name: &str, range: Option<&str>, address: Option<&str>) -> Self {
        Self {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            range: range.map(|range| range.parse().unwrap()),
            address: address.map(|address| address.parse().unwrap()),
        }
    }
}

/// As the API has it.
#[derive(Deserialize)]
struct Wire {
    metadata: Metadata,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    name: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
}

#[derive(Default, Deserialize)]
struct Spec {
    #[serde(rename = "podCIDR")]
    range: Option<String>,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    addresses: Option<Vec<Address>>,
}

#[derive(Deserialize)]
struct Address {
    #[serde(rename = "type")]
    kind: String,
    address: String,
}

impl<'de> Deserialize<'de> for NodeView {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Wire { metadata, spec, status } = Wire::deserialize(deserializer)?;
        let Metadata { name, uid, resource_version } = metadata;
        let addresses = status.addresses.unwrap_or_default();
        let internal = addresses.iter().filter(|address| address.kind == "InternalIP");
        Ok(Self {
            metadata: ObjectMeta { name, uid, resource_version, ..ObjectMeta::default() },
            range: spec.range.and_then(|range| range.parse().ok()),
            // Beside others there may be an IPv6 one.
            address: internal.filter_map(|address| address.address.parse().ok()).next(),
        })
    }
}

impl Resource for NodeView {
    type DynamicType = ();
    type Scope = ClusterResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Node".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "nodes".into()
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
    use serde_json::json;

    use super::*;

    #[test]
    fn a_node_is_reduced_to_what_routes_need() {
        let node: NodeView = serde_json::from_value(json!({
            "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"x": "y"}, "annotations": {"x": "y"}},
            "spec": {"podCIDR": "10.244.1.0/24", "taints": []},
            "status": {"addresses": [
                {"type": "Hostname", "address": "a"},
                {"type": "InternalIP", "address": "fd00::1"},
                {"type": "InternalIP", "address": "198.19.3.8"},
            ], "images": [{"names": ["x"]}]},
        }))
        .unwrap();
        assert_eq!(node.name(), "a");
        assert_eq!(node.range, Some("10.244.1.0/24".parse().unwrap()));
        assert_eq!(node.address, Some(Ipv4Addr::new(198, 19, 3, 8)));
        assert!(node.meta().labels.is_none() && node.meta().annotations.is_none());
        assert_eq!(node.meta().resource_version.as_deref(), Some("7"));
        assert_eq!(NodeView::url_path(&(), None), "/api/v1/nodes");
    }

    #[test]
    fn a_new_node_has_neither() {
        for value in [
            json!({"metadata": {"name": "a"}}),
            json!({"metadata": {"name": "a"}, "spec": {}, "status": {"addresses": null}}),
        ] {
            let node: NodeView = serde_json::from_value(value).unwrap();
            assert_eq!((node.range, node.address), (None, None));
        }
    }
}
