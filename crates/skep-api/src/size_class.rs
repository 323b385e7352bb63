//! `SizeClass`: one typed bundle of everything that grows with the load of a control plane.

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

use crate::resources::{QUANTITY, ResourceBundle};

/// How large a control plane is.
#[derive(CustomResource, Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[kube(
    group = "skep.dev",
    version = "v1alpha1",
    kind = "SizeClass",
    shortname = "szc",
    category = "skep",
    derive = "PartialEq",
    printcolumn(name = "Rank", type_ = "integer", json_path = ".spec.rank"),
    printcolumn(name = "API CPU", type_ = "string", json_path = ".spec.apiServer.resources.cpuRequest"),
    printcolumn(
        name = "API Memory",
        type_ = "string",
        json_path = ".spec.apiServer.resources.memoryRequest"
    ),
    printcolumn(name = "In-flight", type_ = "integer", json_path = ".spec.apiServer.maxRequestsInflight"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    doc = "One typed bundle of requests, limits and in-flight limits of a control plane."
)]
#[serde(rename_all = "camelCase")]
pub struct SizeClassSpec {
    /// Order among the classes: a higher rank is larger.
    #[schemars(range(min = 0, max = 1000))]
    pub rank: i32,
    /// The API server.
    pub api_server: ApiServerSize,
    /// The controllers.
    pub controller_manager: ResourceBundle,
    /// The scheduler.
    pub scheduler: ResourceBundle,
    /// Largest database of the tenant, like `2Gi`.
    #[schemars(length(min = 1, max = 20), pattern(QUANTITY))]
    pub datastore_quota: String,
}

/// Size of one API server.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ApiServerSize {
    /// Requests, limits, GOMEMLIMIT.
    pub resources: ResourceBundle,
    /// `--max-requests-inflight`.
    #[schemars(range(min = 10, max = 10_000))]
    pub max_requests_inflight: i32,
    /// `--max-mutating-requests-inflight`.
    #[schemars(range(min = 5, max = 5_000))]
    pub max_mutating_requests_inflight: i32,
}
