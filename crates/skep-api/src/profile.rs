//! `ClusterProfile`: defaults of a kind of cluster.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::resources::{Availability, ClusterNetwork, DNS_LABEL, Flag};

/// What a cluster gets where its own spec is silent.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "ClusterProfile",
    plural = "clusterprofiles",
    shortname = "profile",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Size", type_ = "string", json_path = ".spec.sizeClass"),
    printcolumn(name = "Availability", type_ = "string", json_path = ".spec.availability"),
    printcolumn(name = "Description", type_ = "string", json_path = ".spec.description"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "Defaults of a kind of cluster."
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterProfileSpec {
    /// One line for people who choose.
    #[schemars(length(min = 1, max = 200))]
    pub description: String,
    /// Size class of clusters that name none.
    #[schemars(length(min = 1, max = 63), pattern(DNS_LABEL))]
    pub size_class: String,
    /// Availability of clusters that name none.
    #[serde(default)]
    pub availability: Availability,
    /// Network of clusters that name none.
    #[serde(default)]
    pub network: ClusterNetwork,
    /// Flags of the API server; a cluster's own flag of the same name wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".into()]))]
    pub api_server_flags: Vec<Flag>,
}
