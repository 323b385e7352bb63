//! `Datastore`: an etcd cluster in a cell.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::resources::{IMAGE, QUANTITY, Reconciliation, ResourceBundle};

/// An etcd cluster that holds tenants' keys: one prefix and one etcd user for each.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "Datastore",
    namespaced,
    status = "DatastoreStatus",
    shortname = "skds",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Class", type_ = "string", json_path = ".spec.class"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.version"),
    printcolumn(name = "Tenants", type_ = "integer", json_path = ".status.tenants"),
    printcolumn(name = "Size", type_ = "integer", json_path = ".status.databaseBytes", priority = 1),
    printcolumn(name = "Endpoints", type_ = "string", json_path = ".status.endpoints", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "An etcd cluster in a cell that holds tenants' keys.",
    validation = Rule::new("self.metadata.name.size() <= 40 && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')")
        .message("a datastore's name is at most 40 characters of a-z, 0-9 and -, starting with a letter"),
    cel
)]
#[x_kube(
    validation = Rule::new("self.class == oldSelf.class").message("class cannot change"),
    validation = Rule::new("self.storage == oldSelf.storage")
        .message("storage cannot change: make another datastore and move its tenants")
)]
#[serde(rename_all = "camelCase")]
pub struct DatastoreSpec {
    /// Who shares it.
    pub class: DatastoreClass,
    /// Image with etcd.
    #[schemars(length(min = 1, max = 255), pattern(IMAGE))]
    pub image: String,
    /// Members of the etcd cluster.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    pub members: i32,
    /// `--quota-backend-bytes`, like `8Gi`: etcd refuses writes above it.
    #[serde(default = "eight_gib")]
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub quota: String,
    /// Most tenants it takes.
    #[serde(default = "max_tenants")]
    #[schemars(range(min = 1, max = 10_000))]
    pub max_tenants: i32,
    /// Disk of each member.
    pub storage: DatastoreStorage,
    /// Requests and limits of each member.
    pub resources: ResourceBundle,
    /// Whether the cell operator works on it.
    #[serde(default)]
    pub reconciliation: Reconciliation,
}

fn one() -> i32 {
    1
}

fn eight_gib() -> String {
    "8Gi".to_owned()
}

fn max_tenants() -> i32 {
    500
}

/// Who shares a datastore.
#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, JsonSchema)]
pub enum DatastoreClass {
    /// Many tenants.
    Shared,
    /// One tenant.
    Dedicated,
}

/// Disk of a datastore's member.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatastoreStorage {
    /// Size, like `10Gi`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub size: String,
    /// StorageClass; the cell's default when not set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class: Option<String>,
}

/// What the cell operator observed.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Default, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct DatastoreStatus {
    /// Conditions: Ready, CertificatesReady, Progressing, Paused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Generation of the spec this status is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// Client URLs, `https://…:2379`, one per member.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 9), inner(length(max = 300)))]
    pub endpoints: Vec<String>,
    /// etcd version that answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 40))]
    pub version: Option<String>,
    /// Tenants with a user in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenants: Option<i32>,
    /// Size of the database file, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database_bytes: Option<i64>,
}
