//! What a node finds again after it was away: in order, or by a crash.

use kube::api::DeleteParams;
use serde_json::json;

use crate::harness::{IDLE, TestNode, container, ip, is_ready, phase, uid, until};

async fn pid_of(sign: &std::path::Path) -> String {
    until("the container to write its pid", || async {
        std::fs::read_to_string(sign).ok().filter(|text| !text.is_empty())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_go_on_and_keep_their_process_and_address() {
    let mut node = TestNode::start("restart-keep").await;
    let sign = node.sign("pid");
    let before = node.up(node.script("p", &format!("echo $$ > {}; {IDLE}", sign.display()))).await;
    let pid = pid_of(&sign).await;
    for crash in [false, true] {
        if crash {
            node.crash().await;
        } else {
            node.stop().await;
        }
        node.run().await;
        let after = node.until_pod("p", "ready", is_ready).await;
        assert_eq!((uid(&after), ip(&after)), (uid(&before), ip(&before)));
        let done = node.kubectl(&["exec", "p", "--", "echo", "still here"]).await;
        assert!(done.status.success(), "crash={crash}");
        assert_eq!(pid_of(&sign).await, pid, "started again although it ran, crash={crash}");
        let restarts = after.status.unwrap().container_statuses.unwrap()[0].restart_count;
        assert_eq!(restarts, 0);
    }
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_deleted_meanwhile_are_ended() {
    let mut node = TestNode::start("restart-deleted").await;
    let asked = node.up(node.script("asked", IDLE)).await;
    node.up(node.script("forced", IDLE)).await;
    node.up(node.script("kept", IDLE)).await;
    let ended =
        node.pod("ended", json!({"restartPolicy": "Never", "containers": [container("c", "exit 0")]}));
    node.apply(ended).await;
    node.until_pod("ended", "succeeded", |pod| phase(pod) == "Succeeded").await;
    node.crash().await;
    node.pods().delete("asked", &DeleteParams::default()).await.unwrap();
    node.pods().delete("forced", &DeleteParams::default().grace_period(0)).await.unwrap();
    node.run().await;
    node.until_gone("asked", &uid(&asked)).await;
    until("only one pod's processes to be left", || async { (node.processes() <= 2).then_some(()) }).await;
    node.until_pod("kept", "ready", is_ready).await;
    node.until_pod("ended", "still succeeded", |pod| phase(pod) == "Succeeded").await;
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pods_made_meanwhile_are_started() {
    let mut node = TestNode::start("restart-made").await;
    node.stop().await;
    let mut pod = node.script("p", IDLE);
    pod["spec"]["nodeName"] = json!(node.name);
    node.apply(pod).await;
    node.run().await;
    node.until_pod("p", "ready", is_ready).await;
    node.end().await;
}
