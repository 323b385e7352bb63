//! `kubectl logs`.

use serde_json::json;

use crate::harness::{IDLE, TestNode, container, phase, text, until};

#[tokio::test(flavor = "multi_thread")]
async fn the_options_of_kubectl() {
    let node = TestNode::start("logs-options").await;
    node.up(node.script("p", &format!("for n in 1 2 3 4; do echo line $n; done; {IDLE}"))).await;
    let log = async |options: &[&str]| {
        let done = node.kubectl(&[&["logs", "p"], options].concat()).await;
        assert!(done.status.success(), "{}", text(&done.stderr));
        text(&done.stdout)
    };
    until("the log to be written", || async { (log(&[]).await.lines().count() == 4).then_some(()) }).await;
    assert_eq!(log(&[]).await, "line 1\nline 2\nline 3\nline 4\n");
    assert_eq!(log(&["--tail=2"]).await, "line 3\nline 4\n");
    assert_eq!(log(&["--limit-bytes=9"]).await, "line 1\nli");
    assert_eq!(log(&["--since=1h"]).await.lines().count(), 4);
    let stamped = log(&["--timestamps", "--tail=1"]).await;
    let (time, rest) = stamped.split_once(' ').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && rest == "line 4\n", "{stamped:?}");
    let done = node.kubectl(&["logs", "p", "--previous"]).await;
    assert!(text(&done.stderr).contains("previous terminated container"), "{}", text(&done.stderr));
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn following_ends_with_the_container() {
    let node = TestNode::start("logs-follow").await;
    let sign = node.sign("go");
    let script = format!("echo first; until [ -e {} ]; do sleep 0.05; done; echo last", sign.display());
    let pod = node.pod("p", json!({"restartPolicy": "Never", "containers": [container("c", &script)]}));
    node.up(pod).await;
    let follower = node.kubectl_command(&["logs", "-f", "p"], &[]).spawn().unwrap();
    std::fs::write(&sign, "").unwrap();
    let done =
        tokio::time::timeout(crate::harness::PATIENCE, follower.wait_with_output()).await.unwrap().unwrap();
    assert_eq!(text(&done.stdout), "first\nlast\n");
    node.until_pod("p", "succeeded", |pod| phase(pod) == "Succeeded").await;
    // The log of a pod that has ended is kept until the pod is deleted.
    assert_eq!(text(&node.kubectl(&["logs", "p"]).await.stdout), "first\nlast\n");
    node.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_run_before_and_a_container_that_never_ran() {
    let node = TestNode::start("logs-previous").await;
    let counter = node.sign("count");
    let script = format!(
        "echo x >> {0}; echo run $(wc -l < {0}); [ $(wc -l < {0}) -lt 2 ] || {{ {IDLE}; }}",
        counter.display()
    );
    node.apply(node.script("p", &script)).await;
    node.until_pod("p", "second run", |pod| {
        pod.status
            .as_ref()
            .is_some_and(|s| s.container_statuses.iter().flatten().any(|c| c.restart_count == 1 && c.ready))
    })
    .await;
    assert_eq!(text(&node.kubectl(&["logs", "p", "--previous"]).await.stdout), "run 1\n");
    let mut stuck = node.pod("q", json!({"containers": [container("c", "true")]}));
    stuck["spec"]["containers"][0]["image"] = json!("unknown");
    node.apply(stuck).await;
    node.until_pod("q", "waiting for its image", |pod| {
        let waiting = |c: &k8s_openapi::api::core::v1::ContainerStatus| {
            c.state.as_ref()?.waiting.as_ref()?.reason.clone()
        };
        pod.status
            .iter()
            .flat_map(|s| s.container_statuses.iter().flatten())
            .any(|c| waiting(c).is_some_and(|r| r.contains("Image")))
    })
    .await;
    let done = node.kubectl(&["logs", "q"]).await;
    assert!(text(&done.stderr).contains("waiting to start"), "{}", text(&done.stderr));
    node.end().await;
}
