//! The node's own object and lease.

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};

use crate::harness::{TestNode, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_node_says_what_it_is_and_comes_back_when_deleted() {
    let node = TestNode::start("registration").await;
    let nodes = Api::<Node>::all(node.client.clone());
    let object = nodes.get(&node.name).await.unwrap();
    let labels = object.metadata.labels.clone().unwrap();
    assert_eq!(labels["topology.kubernetes.io/zone"], "a");
    assert_eq!(labels["kubernetes.io/hostname"], node.name);
    assert_eq!(labels["skep.dev/virtual-node"], "process");
    let status = object.status.clone().unwrap();
    let version = node.client.apiserver_version().await.unwrap().git_version;
    assert_eq!(status.node_info.unwrap().kubelet_version, version);
    assert_eq!(status.capacity.unwrap()["cpu"].0, "2");
    assert_eq!(status.daemon_endpoints.unwrap().kubelet_endpoint.unwrap().port, 10_250);
    for type_ in ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"] {
        assert!(status.conditions.iter().flatten().any(|condition| condition.type_ == type_), "{type_}");
    }
    let leases = Api::<Lease>::namespaced(node.client.clone(), "kube-node-lease");
    let lease = leases.get(&node.name).await.unwrap();
    assert_eq!(lease.metadata.owner_references.unwrap()[0].uid, object.metadata.uid.clone().unwrap());
    let first = lease.spec.unwrap().renew_time.unwrap();
    nodes.delete(&node.name, &DeleteParams::default()).await.unwrap();
    until("the node to be renewed and made again", || async {
        let renewed = leases.get_opt(&node.name).await.unwrap()?.spec?.renew_time? != first;
        let again = nodes.get_opt(&node.name).await.unwrap()?.metadata.uid != object.metadata.uid;
        (renewed && again).then_some(())
    })
    .await;
    node.end().await;
}

/// After a time without leases the node controller writes that it knows nothing of a node.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_given_up_says_that_it_is_well() {
    let node = TestNode::start("given-up").await;
    let nodes = Api::<Node>::all(node.client.clone());
    let of = |node: Node| {
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        conditions.into_iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.status)
    };
    let ready = || async { (of(nodes.get(&node.name).await.unwrap())? == "True").then_some(()) };
    until("the node to be ready", ready).await;
    let lost = serde_json::json!({"status": {"conditions": [
        {"type": "Ready", "status": "Unknown", "reason": "NodeStatusUnknown", "message": "Kubelet stopped posting node status."},
    ]}});
    let lost =
        nodes.patch_status(&node.name, &PatchParams::default(), &Patch::Strategic(lost)).await.unwrap();
    assert_eq!(of(lost).as_deref(), Some("Unknown"));
    until("the node to be ready again", ready).await;
    node.end().await;
}
