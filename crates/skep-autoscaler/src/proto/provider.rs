//! Package `clusterautoscaler.cloudprovider.v1.externalgrpc` of k8s.io/autoscaler/cluster-autoscaler
//! (`cloudprovider/externalgrpc/protos/externalgrpc.proto`).

use std::collections::BTreeMap;

/// Package and service.
pub const SERVICE: &str = "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider";
/// Methods of the service.
pub const METHODS: [&str; 15] = [
    "NodeGroups",
    "NodeGroupForNode",
    "PricingNodePrice",
    "PricingPodPrice",
    "GPULabel",
    "GetAvailableGPUTypes",
    "Cleanup",
    "Refresh",
    "NodeGroupTargetSize",
    "NodeGroupIncreaseSize",
    "NodeGroupDeleteNodes",
    "NodeGroupDecreaseTargetSize",
    "NodeGroupNodes",
    "NodeGroupTemplateNodeInfo",
    "NodeGroupGetOptions",
];

/// A message without fields that are read or written here: several requests and answers of the contract.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Nothing {}

/// A request about one node group, by its id in field 1.
#[derive(Clone, PartialEq, prost::Message)]
pub struct OfGroup {
    #[prost(string, tag = "1")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeGroup {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(int32, tag = "2")]
    pub min_size: i32,
    #[prost(int32, tag = "3")]
    pub max_size: i32,
    #[prost(string, tag = "4")]
    pub debug: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExternalGrpcNode {
    #[prost(string, tag = "1")]
    pub provider_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(btree_map = "string, string", tag = "3")]
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeGroupsResponse {
    #[prost(message, repeated, tag = "1")]
    pub node_groups: Vec<NodeGroup>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeGroupForNodeRequest {
    #[prost(message, optional, tag = "1")]
    pub node: Option<ExternalGrpcNode>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodeGroupForNodeResponse {
    #[prost(message, optional, tag = "1")]
    pub node_group: Option<NodeGroup>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct GpuLabelResponse {
    #[prost(string, tag = "1")]
    pub label: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TargetSizeResponse {
    #[prost(int32, tag = "1")]
    pub target_size: i32,
}

/// `NodeGroupIncreaseSizeRequest` and `NodeGroupDecreaseTargetSizeRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ResizeRequest {
    #[prost(int32, tag = "1")]
    pub delta: i32,
    #[prost(string, tag = "2")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DeleteNodesRequest {
    #[prost(message, repeated, tag = "1")]
    pub nodes: Vec<ExternalGrpcNode>,
    #[prost(string, tag = "2")]
    pub id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct NodesResponse {
    #[prost(message, repeated, tag = "1")]
    pub instances: Vec<Instance>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Instance {
    #[prost(string, tag = "1")]
    pub id: String,
    #[prost(message, optional, tag = "2")]
    pub status: Option<InstanceStatus>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct InstanceStatus {
    #[prost(enumeration = "InstanceState", tag = "1")]
    pub instance_state: i32,
    #[prost(message, optional, tag = "2")]
    pub error_info: Option<InstanceErrorInfo>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum InstanceState {
    Unspecified = 0,
    Running = 1,
    Creating = 2,
    Deleting = 3,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct InstanceErrorInfo {
    #[prost(string, tag = "1")]
    pub error_code: String,
    #[prost(string, tag = "2")]
    pub error_message: String,
    #[prost(int32, tag = "3")]
    pub instance_error_class: i32,
}

/// `InstanceErrorClass` of the core (`pkg/cloudprovider/cloud_provider.go`): another zone or class may do.
pub const OUT_OF_RESOURCES: i32 = 1;
/// Any other failure.
pub const OTHER_ERROR: i32 = 99;

#[derive(Clone, PartialEq, prost::Message)]
pub struct TemplateNodeInfoResponse {
    /// A `v1.Node`.
    #[prost(bytes = "vec", tag = "2")]
    pub node_bytes: Vec<u8>,
}
