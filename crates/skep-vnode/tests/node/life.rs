//! From creation to deletion: phases, refusals, deadlines, finalizers.

use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use serde_json::json;

use crate::harness::{IDLE, TestNode, condition, container, ip, phase, uid, until};
use k8s_openapi::api::core::v1::Event;

#[tokio::test(flavor = "multi_thread")]
async fn a_running_pod_has_its_addresses_and_conditions() {
    let node = TestNode::start("life-running").await;
    let pod = node.up(node.script("p", IDLE)).await;
    for type_ in ["PodScheduled", "PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready"] {
        assert_eq!(condition(&pod, type_).as_deref(), Some("True"), "{type_}");
    }
    let status = pod.status.as_ref().unwrap();
    assert_eq!(status.host_ip.as_deref(), Some(node.address().to_string().as_str()));
    assert!(ip(&pod).is_loopback() && ip(&pod) != node.address());
    assert_eq!(status.observed_generation, pod.metadata.generation);
    assert!(status.start_time.is_some() && status.qos_class.as_deref() == Some("BestEffort"));
    let events = Api::<Event>::namespaced(node.client.clone(), &node.namespace);
    until("the events of a start", || async {
        let events = events.list(&ListParams::default().fields("involvedObject.name=p")).await.unwrap();
        let has = |reason: &str| events.items.iter().any(|event| event.reason.as_deref() == Some(reason));
        (has("Pulled") && has("Created") && has("Started")).then_some(())
    })
    .await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deletion_lets_the_container_finish() {
    let node = TestNode::start("life-delete").await;
    let sign = node.sign("said-goodbye");
    let script =
        format!("trap 'echo bye > {}; exit 0' TERM; while :; do sleep 1000 & wait; done", sign.display());
    let pod = node.up(node.script("p", &script)).await;
    node.pods().delete("p", &DeleteParams::default()).await.unwrap();
    node.until_gone("p", &uid(&pod)).await;
    assert!(sign.exists());
    assert_eq!(node.processes(), 0);
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_deletion_leaves_no_process() {
    let node = TestNode::start("life-force").await;
    node.up(node.script("p", "trap '' TERM; while :; do sleep 1000 & wait; done")).await;
    let done = node.kubectl(&["delete", "pod", "p", "--force", "--grace-period=0"]).await;
    assert!(done.status.success());
    until("the processes to end", || async { (node.processes() == 0).then_some(()) }).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_finalizer_holds_the_object_and_not_the_processes() {
    let node = TestNode::start("life-finalizer").await;
    let mut pod = node.script("p", IDLE);
    pod["metadata"]["finalizers"] = json!(["example.com/hold"]);
    let pod = node.up(pod).await;
    node.pods().delete("p", &DeleteParams::default()).await.unwrap();
    node.until_pod("p", "ended", |pod| matches!(phase(pod), "Succeeded" | "Failed")).await;
    until("the processes to end", || async { (node.processes() == 0).then_some(()) }).await;
    let patch = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    node.pods().patch("p", &PatchParams::default(), &patch).await.unwrap();
    node.until_gone("p", &uid(&pod)).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_end_as_their_exit_codes_say() {
    let node = TestNode::start("life-phases").await;
    for (name, script, expected) in [("good", "exit 0", "Succeeded"), ("bad", "exit 3", "Failed")] {
        let pod = node.pod(name, json!({"restartPolicy": "Never", "containers": [container("c", script)]}));
        node.apply(pod).await;
        let pod = node.until_pod(name, expected, |pod| phase(pod) == expected).await;
        assert_eq!(condition(&pod, "Ready").as_deref(), Some("False"));
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_node_refuses_has_failed_with_a_reason() {
    let node = TestNode::start("life-refused").await;
    let mut too_big = node.script("too-big", IDLE);
    too_big["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "64"}});
    let mut elsewhere = node.script("elsewhere", IDLE);
    elsewhere["spec"]["nodeSelector"]["disk"] = json!("tape");
    for (mut pod, expected) in [(too_big, "OutOfcpu"), (elsewhere, "NodeAffinity")] {
        // Past the scheduler, as a controller with a mind of its own would do it.
        pod["spec"]["nodeName"] = json!(node.name);
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        node.apply(pod).await;
        let pod = node.until_pod(&name, "failed", |pod| phase(pod) == "Failed").await;
        assert_eq!(pod.status.unwrap().reason.as_deref(), Some(expected));
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_the_pod() {
    let node = TestNode::start("life-deadline").await;
    let pod = node.pod("p", json!({"activeDeadlineSeconds": 1, "containers": [container("c", IDLE)]}));
    node.apply(pod).await;
    let pod = node.until_pod("p", "failed", |pod| phase(pod) == "Failed").await;
    assert_eq!(pod.status.unwrap().reason.as_deref(), Some("DeadlineExceeded"));
    until("the processes to end", || async { (node.processes() == 0).then_some(()) }).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_readiness_gate_is_waited_for() {
    let node = TestNode::start("life-gate").await;
    let gates = json!([{"conditionType": "example.com/gate"}]);
    node.apply(node.pod("p", json!({"readinessGates": gates, "containers": [container("c", IDLE)]}))).await;
    let ready = |pod: &_| condition(pod, "ContainersReady").as_deref() == Some("True");
    let pod = node.until_pod("p", "containers ready", ready).await;
    assert_eq!(condition(&pod, "Ready").as_deref(), Some("False"));
    let patch =
        Patch::Strategic(json!({"status": {"conditions": [{"type": "example.com/gate", "status": "True"}]}}));
    node.pods().patch_status("p", &PatchParams::default(), &patch).await.unwrap();
    node.until_pod("p", "ready", crate::harness::is_ready).await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stateful_pod_keeps_its_address() {
    let node = TestNode::start("life-stateful").await;
    let mut template = node.script("unused", IDLE);
    template["metadata"] = json!({"labels": {"app": "db"}});
    node.apply(json!({"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "db"}, "spec": {
        "replicas": 1, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "template": {"metadata": template["metadata"], "spec": template["spec"]}}}))
        .await;
    let first = node.until_pod("db-0", "ready", crate::harness::is_ready).await;
    node.pods().delete("db-0", &DeleteParams::default()).await.unwrap();
    let old = uid(&first);
    let second =
        node.until_pod("db-0", "ready again", |pod| uid(pod) != old && crate::harness::is_ready(pod)).await;
    assert_eq!(ip(&first), ip(&second));
    assert!(ip(&first).octets()[2] < 128, "{} is not in the stable half", ip(&first));
    let done = node.kubectl(&["delete", "statefulset", "db"]).await;
    assert!(done.status.success());
    node.end().await;
}
