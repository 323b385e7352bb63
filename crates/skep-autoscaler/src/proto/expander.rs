//! Package `grpcplugin` of sigs.k8s.io/cluster-autoscaler (`pkg/expander/grpcplugin/protos/expander.proto`).

use std::collections::BTreeMap;

use bytes::Bytes;

/// Package and service.
pub const SERVICE: &str = "grpcplugin.Expander";
/// Methods of the service.
pub const METHODS: [&str; 1] = ["BestOptions"];

/// Options and the nodes they would bring.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BestOptionsRequest {
    #[prost(message, repeated, tag = "1")]
    pub options: Vec<Choice>,
    /// `v1.Node` by node group.
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub node_bytes_map: BTreeMap<String, Vec<u8>>,
}

/// [`BestOptionsRequest`] with options that are not looked into yet: on the wire it is the same.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct Envelope {
    #[prost(bytes = "bytes", repeated, tag = "1")]
    pub(crate) options: Vec<Bytes>,
    #[prost(btree_map = "string, bytes", tag = "3")]
    pub(crate) node_bytes_map: BTreeMap<String, Vec<u8>>,
}

/// The options that may be taken.
#[derive(Clone, PartialEq, prost::Message)]
pub struct BestOptionsResponse {
    #[prost(message, repeated, tag = "1")]
    pub options: Vec<Choice>,
}

/// Upstream's `Option`, which has another meaning in Rust.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Choice {
    #[prost(string, tag = "1")]
    pub node_group_id: String,
    #[prost(int32, tag = "2")]
    pub node_count: i32,
    #[prost(string, tag = "3")]
    pub debug: String,
    /// `v1.Pod` each.
    #[prost(bytes = "bytes", repeated, tag = "5")]
    pub pod_bytes: Vec<Bytes>,
}
