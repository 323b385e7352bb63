//! The credential of hollow nodes, judged by a real API server: what it lets them do, and what not.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod, Secret, ServiceAccount};
use k8s_openapi::api::flowcontrol::v1::FlowSchema;
use k8s_openapi::api::rbac::v1::ClusterRole;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use skep_kubeops::Key;
use skep_node::hollow::{self, HollowClient};
use skep_node::tenants::Endpoint;
use skep_testkit::{ApiServer, PATIENCE};

fn refused<T: std::fmt::Debug>(result: kube::Result<T>) -> u16 {
    match result {
        Err(kube::Error::Api(status)) => status.code,
        other => panic!("not refused: {other:?}"),
    }
}

async fn until<T, F: Future<Output = Option<T>>>(what: &str, mut look: impl FnMut() -> F) -> T {
    let looking = async {
        loop {
            if let Some(found) = look().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking).await.unwrap_or_else(|_| panic!("never: {what}"))
}

#[tokio::test]
async fn hollow_nodes_may_be_nodes_and_nothing_else() {
    let server = ApiServer::shared().await.unwrap();
    let hub: Client = server.client().await.unwrap();
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "demo-kubeconfig"}, "stringData": {"value": server.kubeconfig()},
    }))
    .unwrap();
    Api::<Secret>::namespaced(hub.clone(), "default").create(&PostParams::default(), &secret).await.unwrap();
    let endpoint = Endpoint { server: server.server(), host: "kubernetes.default.svc".into() };
    let cluster = Key::namespaced("default", "demo");
    // A new API server makes the namespace of leases by itself, a moment after it serves.
    let made = || async { hollow::client(&hub, &skep_node::connect(), &cluster, &endpoint).await.ok() };
    let HollowClient { client, renew } = until("a client", made).await;
    assert!(renew > Duration::from_secs(600), "{renew:?}");

    let node: Node = serde_json::from_value(json!({"metadata": {"name": "h-1"}})).unwrap();
    let nodes = Api::<Node>::all(client.clone());
    nodes.create(&PostParams::default(), &node).await.unwrap();
    let lease: Lease = serde_json::from_value(json!({"metadata": {"name": "h-1"}, "spec": {}})).unwrap();
    Api::<Lease>::namespaced(client.clone(), "kube-node-lease")
        .create(&PostParams::default(), &lease)
        .await
        .unwrap();
    Api::<Pod>::all(client.clone()).list(&ListParams::default()).await.unwrap();

    // Heartbeats are served from the share of kubelets' heartbeats, pods from that of nodes.
    for (flow, path) in [
        ("skep-hollow-nodes-high", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/h-1"),
        ("skep-hollow-nodes-high", "/api/v1/nodes/h-1"),
        ("skep-hollow-nodes", "/api/v1/pods"),
    ] {
        let schema = Api::<FlowSchema>::all(hub.clone()).get(flow).await.unwrap();
        until(&format!("{path} in {flow}"), || async {
            let request = http::Request::get(path).body(kube::client::Body::empty()).unwrap();
            let answer = client.send(request).await.unwrap();
            let served = answer.headers()["x-kubernetes-pf-flowschema-uid"].to_str().unwrap().to_owned();
            (Some(served) == schema.metadata.uid).then_some(())
        })
        .await;
    }

    let all = ListParams::default();
    assert_eq!(refused(Api::<Secret>::all(client.clone()).list(&all).await), 403);
    assert_eq!(refused(Api::<ConfigMap>::namespaced(client.clone(), "kube-system").list(&all).await), 403);
    assert_eq!(refused(Api::<ClusterRole>::all(client.clone()).list(&all).await), 403);
    assert_eq!(refused(nodes.delete("h-1", &DeleteParams::default()).await), 403);
    let elsewhere = Api::<Lease>::namespaced(client.clone(), "kube-system");
    assert_eq!(refused(elsewhere.create(&PostParams::default(), &lease).await), 403);

    // Whoever deletes the account takes the credential back.
    let accounts = Api::<ServiceAccount>::namespaced(hub, "kube-system");
    accounts.delete("skep-hollow-nodes", &DeleteParams::default()).await.unwrap();
    until("the token to be refused", || async {
        let answer = nodes.list(&all).await;
        matches!(answer, Err(kube::Error::Api(status)) if status.code == 401).then_some(())
    })
    .await;
}
