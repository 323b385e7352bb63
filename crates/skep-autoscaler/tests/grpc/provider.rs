//! What is read: groups, nodes, templates.

use prost::Message as _;
use skep_autoscaler::proto::core::Node;
use skep_autoscaler::proto::provider::*;
use tonic::Code;

use crate::bed::{self, Caller, Running};

fn of(id: &str) -> OfGroup {
    OfGroup { id: id.into() }
}

fn node(name: &str) -> NodeGroupForNodeRequest {
    let provider_id = format!("skep-local://{name}");
    NodeGroupForNodeRequest {
        node: Some(ExternalGrpcNode { provider_id, name: name.into(), ..Default::default() }),
    }
}

async fn groups(caller: &Caller) -> Vec<(String, i32, i32)> {
    let answer: NodeGroupsResponse = caller.provider("NodeGroups", Nothing {}).await.unwrap();
    answer.node_groups.into_iter().map(|group| (group.id, group.min_size, group.max_size)).collect()
}

#[tokio::test]
async fn groups_are_the_pools_of_the_cluster_with_bounds() {
    let fake = bed::hub();
    let server = Running::new(bed::provider(fake.client()), true).await;
    let caller = server.caller().await;
    assert_eq!(groups(&caller).await, [("batch".into(), 0, 10), ("web".into(), 1, 5)]);
    let size = |id: &str| caller.provider::<_, TargetSizeResponse>("NodeGroupTargetSize", of(id));
    assert_eq!(size("web").await.unwrap().target_size, 2);
    assert_eq!(size("batch").await.unwrap().target_size, 0);
    for (id, code) in [("fixed", Code::NotFound), ("other", Code::NotFound), ("", Code::NotFound)] {
        let status = size(id).await.unwrap_err();
        assert_eq!(status.code(), code, "{id}");
        assert!(status.message().contains("SKEP-8092"), "{}", status.message());
    }
    // What changes on the hub is seen with the next refresh.
    fake.edit("nodepools.skep.dev", bed::NAMESPACE, "batch", |pool| {
        pool["spec"]["scaling"]["max"] = 20.into()
    });
    assert_eq!(groups(&caller).await[0].2, 10);
    let _: Nothing = caller.provider("Refresh", Nothing {}).await.unwrap();
    assert_eq!(groups(&caller).await[0].2, 20);
}

#[tokio::test]
async fn a_node_is_found_by_its_machine() {
    let server = Running::new(bed::provider(bed::hub().client()), true).await;
    let caller = server.caller().await;
    let group = |request| async {
        let answer: NodeGroupForNodeResponse = caller.provider("NodeGroupForNode", request).await.unwrap();
        answer.node_group.unwrap().id
    };
    assert_eq!(group(node("web-2")).await, "web");
    // A machine of a pool that nobody scales, and a node of nobody.
    assert_eq!(group(node("fixed-1")).await, "");
    assert_eq!(group(node("stranger")).await, "");
    // A name alone does for a node that has no provider id, and for no other.
    let named = |provider_id: &str| {
        let node =
            ExternalGrpcNode { provider_id: provider_id.into(), name: "web-1".into(), ..Default::default() };
        NodeGroupForNodeRequest { node: Some(node) }
    };
    assert_eq!(group(named("")).await, "web");
    assert_eq!(group(named("elsewhere://1")).await, "");
    let refused: Result<NodeGroupForNodeResponse, _> =
        caller.provider("NodeGroupForNode", NodeGroupForNodeRequest { node: None }).await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
}

#[tokio::test]
async fn instances_say_how_they_are() {
    let fake = bed::hub();
    bed::plant_machine(&fake, "web", "web-3", "Provisioning");
    bed::plant_machine(&fake, "web", "web-4", "Failed");
    fake.edit("nodepools.skep.dev", bed::NAMESPACE, "web", |pool| {
        pool["spec"]["scaling"]["remove"] = serde_json::json!(["web-2"]);
    });
    let server = Running::new(bed::provider(fake.client()), true).await;
    let answer: NodesResponse = server.caller().await.provider("NodeGroupNodes", of("web")).await.unwrap();
    let seen: Vec<_> = answer
        .instances
        .iter()
        .map(|instance| (instance.id.as_str(), instance.status.as_ref().unwrap().instance_state()))
        .collect();
    assert_eq!(
        seen,
        [
            ("skep-local://web-1", InstanceState::Running),
            ("skep-local://web-2", InstanceState::Deleting),
            ("skep-machine://team/web-3", InstanceState::Creating),
            ("skep-machine://team/web-4", InstanceState::Creating),
        ]
    );
    let errors: Vec<_> =
        answer.instances.iter().map(|i| i.status.as_ref().unwrap().error_info.clone()).collect();
    let out_of_stock = InstanceErrorInfo {
        error_code: "OutOfStock".into(),
        error_message: "no address is free".into(),
        instance_error_class: OUT_OF_RESOURCES,
    };
    assert_eq!(errors, [None, None, None, Some(out_of_stock)]);
}

#[tokio::test]
async fn a_pool_without_nodes_has_a_template() {
    let server = Running::new(bed::provider(bed::hub().client()), true).await;
    let caller = server.caller().await;
    let answer: TemplateNodeInfoResponse =
        caller.provider("NodeGroupTemplateNodeInfo", of("batch")).await.unwrap();
    let node = Node::decode(answer.node_bytes.as_slice()).unwrap();
    assert_eq!(node.metadata.unwrap().labels["skep.dev/pool"], "batch");
    assert_eq!(node.status.unwrap().allocatable["cpu"].string, "2000m");
}

#[tokio::test]
async fn the_rest_is_answered_as_upstream_wants_it() {
    let server = Running::new(bed::provider(bed::hub().client()), true).await;
    let caller = server.caller().await;
    let label: GpuLabelResponse = caller.provider("GPULabel", Nothing {}).await.unwrap();
    assert_eq!(label.label, "skep.dev/gpu");
    for method in ["GetAvailableGPUTypes", "Cleanup", "NodeGroupGetOptions"] {
        let _: Nothing = caller.provider(method, of("web")).await.unwrap();
    }
    // Upstream takes exactly this code for "not implemented".
    for method in ["PricingNodePrice", "PricingPodPrice", "NodeGroupFly"] {
        let refused: Result<Nothing, _> = caller.provider(method, Nothing {}).await;
        assert_eq!(refused.unwrap_err().code(), Code::Unimplemented, "{method}");
    }
    let elsewhere: Result<Nothing, _> = caller.call("/grpcplugin.Expander/BestOptions", Nothing {}).await;
    assert_eq!(elsewhere.unwrap_err().code(), Code::Unimplemented);
    let text = server.metrics.encode().unwrap();
    for line in [
        r#"skep_autoscaler_calls_total{method="GPULabel",code="0"} 1"#,
        r#"skep_autoscaler_calls_total{method="PricingNodePrice",code="12"} 1"#,
        r#"skep_autoscaler_calls_total{method="unknown",code="12"} 2"#,
    ] {
        assert!(text.contains(line), "{line} is missing in\n{text}");
    }
}
