//! Resources that change while the pod runs.

use k8s_openapi::api::core::v1::Pod;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use crate::harness::{IDLE, TestNode, condition, uid};

fn cpu(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref()?.container_statuses.as_ref()?.first()?;
    Some(status.resources.as_ref()?.requests.as_ref()?.get("cpu")?.0.clone())
}

fn with_cpu(node: &TestNode, name: &str, cpu: &str) -> Value {
    let mut pod = node.script(name, IDLE);
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": cpu}});
    pod
}

async fn resize(node: &TestNode, name: &str, cpu: &str) {
    let patch = Patch::Strategic(
        json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": cpu}}}]}}),
    );
    node.pods().patch_resize(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_that_fits_happens_without_a_restart() {
    let node = TestNode::start("resize-fits").await;
    let before = node.up(with_cpu(&node, "p", "100m")).await;
    resize(&node, "p", "300m").await;
    let after = node.until_pod("p", "resized", |pod| cpu(pod).as_deref() == Some("300m")).await;
    assert_eq!(uid(&before), uid(&after));
    let after = node
        .until_pod("p", "done", |pod| {
            condition(pod, "PodResizeInProgress").is_none()
                && pod.status.as_ref().and_then(|status| status.observed_generation)
                    == pod.metadata.generation
        })
        .await;
    let container = &after.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0];
    assert_eq!(container.restart_count, 0);
    assert_eq!(container.allocated_resources.as_ref().unwrap()["cpu"].0, "300m");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resize_waits_for_room_and_takes_it() {
    let mut node = TestNode::start("resize-waits").await;
    node.up(with_cpu(&node, "big", "1500m")).await;
    node.up(with_cpu(&node, "p", "300m")).await;
    resize(&node, "p", "1").await;
    let deferred = |pod: &Pod| {
        let conditions = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
        conditions.filter(|c| c.type_ == "PodResizePending").any(|c| c.reason.as_deref() == Some("Deferred"))
    };
    let pod = node.until_pod("p", "deferred", deferred).await;
    assert_eq!(cpu(&pod).as_deref(), Some("300m"));
    // A restart does not turn a wish into a grant.
    node.crash().await;
    node.run().await;
    let pod = node.until_pod("p", "deferred", deferred).await;
    assert_eq!(cpu(&pod).as_deref(), Some("300m"));
    node.pods().delete("big", &kube::api::DeleteParams::default()).await.unwrap();
    node.until_pod("p", "resized", |pod| cpu(pod).as_deref() == Some("1") && !deferred(pod)).await;
    node.end().await;
}
