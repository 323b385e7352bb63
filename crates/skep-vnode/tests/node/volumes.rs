//! Claims of class `skep-local`: made when a pod is scheduled, kept with the claim, gone with it.

use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim};
use kube::Api;
use kube::api::DeleteParams;
use serde_json::{Value, json};

use crate::harness::{IDLE, TestNode, container, is_ready, text, uid, until};

fn claim(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": {
        "storageClassName": "skep-local", "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}}}})
}

fn user(node: &TestNode, name: &str, script: &str) -> Value {
    let mut pod = node.pod(
        name,
        json!({
            "containers": [container("c", script)],
            "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}],
        }),
    );
    pod["spec"]["containers"][0]["volumeMounts"] = json!([{"name": "v", "mountPath": "/data"}]);
    pod
}

fn directories(node: &TestNode) -> usize {
    std::fs::read_dir(node.volumes()).map_or(0, |entries| entries.count())
}

#[tokio::test(flavor = "multi_thread")]
async fn data_live_as_long_as_their_claim() {
    let mut node = TestNode::start("volumes-life").await;
    node.apply(claim("data")).await;
    let first = node.up(user(&node, "first", &format!("echo kept > /data/file; {IDLE}"))).await;
    let claims = Api::<PersistentVolumeClaim>::namespaced(node.client.clone(), &node.namespace);
    let volume = claims.get("data").await.unwrap().spec.unwrap().volume_name.unwrap();
    let volumes = Api::<PersistentVolume>::all(node.client.clone());
    let spec = volumes.get(&volume).await.unwrap().spec.unwrap();
    assert!(spec.local.unwrap().path.starts_with(node.volumes().to_str().unwrap()));
    node.pods().delete("first", &DeleteParams::default()).await.unwrap();
    node.until_gone("first", &uid(&first)).await;
    node.crash().await;
    node.run().await;
    let second = node.up(user(&node, "second", IDLE)).await;
    assert_eq!(text(&node.kubectl(&["exec", "second", "--", "cat", "/data/file"]).await.stdout), "kept\n");
    node.pods().delete("second", &DeleteParams::default()).await.unwrap();
    node.until_gone("second", &uid(&second)).await;
    assert_eq!(directories(&node), 1);
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    until("the volume to go", || async { volumes.get_opt(&volume).await.unwrap().is_none().then_some(()) })
        .await;
    assert_eq!(directories(&node), 0);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_volume_released_while_the_node_was_away_is_deleted_afterwards() {
    let mut node = TestNode::start("volumes-away").await;
    node.apply(claim("data")).await;
    let pod = node.up(user(&node, "p", IDLE)).await;
    node.pods().delete("p", &DeleteParams::default()).await.unwrap();
    node.until_gone("p", &uid(&pod)).await;
    node.stop().await;
    // What a crash between making the directory and making the volume leaves.
    let stray = node.volumes().join("pvc-00000000-0000-0000-0000-000000000000");
    let known = std::fs::read_dir(node.volumes()).unwrap().next().unwrap().unwrap().path();
    std::fs::create_dir_all(stray.join("data")).unwrap();
    let marker = std::fs::read_to_string(known.join("volume.json")).unwrap();
    std::fs::write(stray.join("volume.json"), marker.replace("\"data\"", "\"gone\"")).unwrap();
    let claims = Api::<PersistentVolumeClaim>::namespaced(node.client.clone(), &node.namespace);
    claims.delete("data", &DeleteParams::default()).await.unwrap();
    node.run().await;
    until("both directories to go", || async { (directories(&node) == 0).then_some(()) }).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_made_is_said() {
    let node = TestNode::start("volumes-refused").await;
    let mut shared = claim("data");
    shared["spec"]["accessModes"] = json!(["ReadWriteMany"]);
    node.apply(shared).await;
    node.apply(user(&node, "p", IDLE)).await;
    until("the refusal", || async {
        let done = node
            .kubectl(&[
                "get",
                "events",
                "--field-selector=reason=ProvisioningFailed",
                "-o",
                "jsonpath={.items[*].message}",
            ])
            .await;
        text(&done.stdout).contains("ReadWriteOnce").then_some(())
    })
    .await;
    assert!(!is_ready(&node.pods().get("p").await.unwrap()));
    node.end().await;
}
