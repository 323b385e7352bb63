//! Our messages against the published contracts, which stand here as tables of fields. A field that is ours and not in the
//! table, or of another type there, would be read as something else by upstream's client.

use prost::Message;
use prost::encoding::{DecodeContext, WireType, decode_key, skip_field};

use super::core::*;
use super::expander::*;
use super::provider::*;

const VARINT: WireType = WireType::Varint;
const LENGTH: WireType = WireType::LengthDelimited;

/// `field number, type on the wire` of what a message sends.
fn sent(message: &impl Message) -> Vec<(u32, WireType)> {
    let bytes = message.encode_to_vec();
    let mut rest = bytes.as_slice();
    let mut fields = Vec::new();
    while !rest.is_empty() {
        let (number, wire) = decode_key(&mut rest).unwrap();
        skip_field(wire, number, &mut rest, DecodeContext::default()).unwrap();
        fields.push((number, wire));
    }
    fields.dedup();
    fields
}

/// A message with every field set, against the published numbers and types of those fields.
macro_rules! contract {
    ($($message:expr => [$($number:literal $wire:ident),*];)*) => {
        $(assert_eq!(sent(&$message), [$(($number, $wire)),*], "{}", stringify!($message));)*
    };
}

fn text() -> String {
    "x".to_owned()
}

fn pair() -> std::collections::BTreeMap<String, String> {
    [(text(), text())].into()
}

#[test]
fn the_cloud_provider_is_the_published_one() {
    assert_eq!(super::provider::SERVICE, "clusterautoscaler.cloudprovider.v1.externalgrpc.CloudProvider");
    assert_eq!(super::provider::METHODS.len(), 15);
    let node = ExternalGrpcNode { provider_id: text(), name: text(), labels: pair() };
    contract! {
        // id, minSize, maxSize, debug
        NodeGroup { id: text(), min_size: 1, max_size: 1, debug: text() } => [1 LENGTH, 2 VARINT, 3 VARINT, 4 LENGTH];
        // providerID, name, labels; 4 annotations is not read
        node.clone() => [1 LENGTH, 2 LENGTH, 3 LENGTH];
        NodeGroupsResponse { node_groups: vec![NodeGroup::default()] } => [1 LENGTH];
        NodeGroupForNodeRequest { node: Some(node.clone()) } => [1 LENGTH];
        NodeGroupForNodeResponse { node_group: Some(NodeGroup::default()) } => [1 LENGTH];
        GpuLabelResponse { label: text() } => [1 LENGTH];
        // NodeGroup{TargetSize,Nodes,TemplateNodeInfo}Request, NodeGroupAutoscalingOptionsRequest
        OfGroup { id: text() } => [1 LENGTH];
        TargetSizeResponse { target_size: 1 } => [1 VARINT];
        ResizeRequest { delta: 1, id: text() } => [1 VARINT, 2 LENGTH];
        DeleteNodesRequest { nodes: vec![node], id: text() } => [1 LENGTH, 2 LENGTH];
        NodesResponse { instances: vec![Instance::default()] } => [1 LENGTH];
        Instance { id: text(), status: Some(InstanceStatus::default()) } => [1 LENGTH, 2 LENGTH];
        InstanceStatus { instance_state: 1, error_info: Some(InstanceErrorInfo::default()) } => [1 VARINT, 2 LENGTH];
        InstanceErrorInfo { error_code: text(), error_message: text(), instance_error_class: 1 }
            => [1 LENGTH, 2 LENGTH, 3 VARINT];
        // 2, not 1: 1 was a typed node once
        TemplateNodeInfoResponse { node_bytes: vec![1] } => [2 LENGTH];
    }
    let states = [
        InstanceState::Unspecified,
        InstanceState::Running,
        InstanceState::Creating,
        InstanceState::Deleting,
    ];
    assert_eq!(states.map(i32::from), [0, 1, 2, 3]);
    // Negative deltas are plain int32: ten bytes, not zigzag.
    assert_eq!(ResizeRequest { delta: -1, id: String::new() }.encoded_len(), 11);
}

#[test]
fn the_expander_is_the_published_one() {
    assert_eq!(
        (super::expander::SERVICE, super::expander::METHODS),
        ("grpcplugin.Expander", ["BestOptions"])
    );
    let choice = Choice { node_group_id: text(), node_count: 1, debug: text(), pod_bytes: vec!["x".into()] };
    let request =
        BestOptionsRequest { options: vec![choice.clone()], node_bytes_map: [(text(), vec![1])].into() };
    contract! {
        // nodeGroupId, nodeCount, debug, podBytes; 4 is not used any more
        choice => [1 LENGTH, 2 VARINT, 3 LENGTH, 5 LENGTH];
        // options, nodeBytesMap; 2 is not used any more
        request => [1 LENGTH, 3 LENGTH];
        BestOptionsResponse { options: vec![Choice::default()] } => [1 LENGTH];
    }
    let envelope = Envelope::decode(request.encode_to_vec().as_slice()).unwrap();
    assert_eq!(envelope.encode_to_vec(), request.encode_to_vec(), "both read the same bytes");
}

#[test]
fn nodes_and_pods_are_upstreams() {
    let selector = LabelSelector { match_labels: pair(), match_expressions: vec![Default::default()] };
    contract! {
        ObjectMeta { name: text(), namespace: text(), labels: pair() } => [1 LENGTH, 3 LENGTH, 11 LENGTH];
        Node { metadata: Some(Default::default()), spec: Some(Default::default()), status: Some(Default::default()) }
            => [1 LENGTH, 2 LENGTH, 3 LENGTH];
        NodeSpec { taints: vec![Taint::default()] } => [5 LENGTH];
        Taint { key: text(), value: text(), effect: text() } => [1 LENGTH, 2 LENGTH, 3 LENGTH];
        NodeStatus {
            capacity: [(text(), Quantity::default())].into(),
            allocatable: [(text(), Quantity::default())].into(),
            conditions: vec![NodeCondition::default()],
            node_info: Some(NodeSystemInfo::default()),
        } => [1 LENGTH, 2 LENGTH, 4 LENGTH, 7 LENGTH];
        Quantity { string: text() } => [1 LENGTH];
        NodeCondition { r#type: text(), status: text() } => [1 LENGTH, 2 LENGTH];
        NodeSystemInfo { operating_system: text(), architecture: text() } => [9 LENGTH, 10 LENGTH];
        Pod { metadata: Some(Default::default()), spec: Some(Default::default()) } => [1 LENGTH, 2 LENGTH];
        PodSpec { affinity: Some(Default::default()), topology_spread_constraints: vec![Default::default()] }
            => [18 LENGTH, 33 LENGTH];
        Affinity { pod_anti_affinity: Some(Default::default()) } => [3 LENGTH];
        PodAntiAffinity { required: vec![Default::default()] } => [1 LENGTH];
        PodAffinityTerm {
            label_selector: Some(selector.clone()), namespaces: vec![text()], topology_key: text(),
            namespace_selector: Some(Default::default()),
        } => [1 LENGTH, 2 LENGTH, 3 LENGTH, 4 LENGTH];
        TopologySpreadConstraint { topology_key: text(), when_unsatisfiable: text() } => [2 LENGTH, 3 LENGTH];
        selector => [1 LENGTH, 2 LENGTH];
        LabelSelectorRequirement { key: text(), operator: text(), values: vec![text()] }
            => [1 LENGTH, 2 LENGTH, 3 LENGTH];
    }
}
