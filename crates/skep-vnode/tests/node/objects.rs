//! Secrets, configMaps and tokens reach the container, and their changes too.

use base64::Engine as _;
use serde_json::json;

use crate::harness::{IDLE, TestNode, container, is_ready, text, until};

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_secret_reaches_the_file() {
    let mut node = TestNode::start("objects-secret").await;
    let secret = |value: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"key": value}});
    node.apply(secret("one")).await;
    let mut pod = node.pod(
        "p",
        json!({
            "containers": [container("c", IDLE)],
            "volumes": [{"name": "v", "secret": {"secretName": "s"}}],
        }),
    );
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/etc/s"}]);
    node.up(pod).await;
    let read = async || text(&node.kubectl(&["exec", "p", "--", "cat", "/etc/s/key"]).await.stdout);
    assert_eq!(read().await, "one");
    node.apply(secret("two")).await;
    until("the new value", || async { (read().await == "two").then_some(()) }).await;
    node.crash().await;
    node.apply(secret("three")).await;
    node.run().await;
    let read = async || text(&node.kubectl(&["exec", "p", "--", "cat", "/etc/s/key"]).await.stdout);
    until("the value written meanwhile", || async { (read().await == "three").then_some(()) }).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_waits_for_a_missing_object_and_starts_with_it() {
    let node = TestNode::start("objects-missing").await;
    let mut pod = node.script("p", IDLE);
    pod["spec"]["containers"][0]["env"] =
        json!([{"name": "V", "valueFrom": {"configMapKeyRef": {"name": "m", "key": "k"}}}]);
    node.apply(pod).await;
    node.until_pod("p", "waiting", |pod| {
        let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        statuses
            .filter_map(|status| status.state.as_ref()?.waiting.as_ref()?.reason.as_deref())
            .any(|reason| reason.starts_with("CreateContainerConfig"))
    })
    .await;
    node.apply(
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m"}, "data": {"k": "v"}}),
    )
    .await;
    node.until_pod("p", "ready", is_ready).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_bound_to_the_pod() {
    let node = TestNode::start("objects-token").await;
    node.up(node.script("p", IDLE)).await;
    let file = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    let token = text(&node.kubectl(&["exec", "p", "--", "cat", file]).await.stdout);
    let claims = token.split('.').nth(1).expect("a JWT");
    let claims = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(claims).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
    assert_eq!(claims["kubernetes.io"]["pod"]["name"], "p");
    assert_eq!(claims["kubernetes.io"]["serviceaccount"]["name"], "default");
    node.end().await;
}
