//! Probes and hooks of containers that run.

use serde_json::json;
use skep_vnode::backend::PodBackend;

use crate::harness::*;

fn exists(path: &std::path::Path) -> serde_json::Value {
    json!({"command": ["test", "-e", path]})
}

#[tokio::test]
async fn readiness_follows_the_probe_both_ways() {
    let node = Node::new();
    let sign = node.sign("ready");
    let mut c = container("c", "exec sleep 1000");
    c["readinessProbe"] = json!({"exec": exists(&sign), "periodSeconds": 1, "failureThreshold": 1});
    let uid = node.sync(&pod("ready", json!({"containers": [c]})));
    let status = node.until(&uid, "runs", is("running")).await;
    assert!(!only(&status).ready);
    std::fs::write(&sign, "").unwrap();
    node.until(&uid, "ready", |s| only(s).ready).await;
    std::fs::remove_file(&sign).unwrap();
    node.until(&uid, "not ready", |s| !only(s).ready).await;
    node.event("Unhealthy", "Readiness probe failed: ").await;
    assert_eq!(only(&node.backend.status(&uid).unwrap()).restart_count, 0);
    node.end().await;
}

#[tokio::test]
async fn liveness_restarts_and_waits_for_startup() {
    let node = Node::new();
    let (up, dead) = (node.sign("up"), node.sign("dead"));
    let mut c = container("c", &format!("rm -f {}; exec sleep 1000", dead.display()));
    c["startupProbe"] = json!({"exec": exists(&up), "periodSeconds": 1, "failureThreshold": 100});
    c["livenessProbe"] = json!({"exec": {"command": ["test", "!", "-e", dead]}, "periodSeconds": 1, "failureThreshold": 1, "terminationGracePeriodSeconds": 1});
    let uid = node.sync(&pod("live", json!({"containers": [c], "terminationGracePeriodSeconds": 1000})));
    let status = node.until(&uid, "runs", is("running")).await;
    assert_eq!(only(&status).started, Some(false));
    std::fs::write(&up, "").unwrap();
    node.until(&uid, "started", |s| only(s).started == Some(true) && only(s).ready).await;
    std::fs::write(&dead, "").unwrap();
    let status = node.until(&uid, "restarted", |s| only(s).restart_count == 1 && only(s).ready).await;
    assert!(last_state(only(&status)).starts_with("terminated Error 143"), "{}", last_state(only(&status)));
    node.event("Killing", "Container c failed liveness probe, will be restarted").await;
    node.end().await;
}

#[tokio::test]
async fn a_container_that_never_comes_up_is_restarted() {
    let node = Node::new();
    let mut c = container("c", "exec sleep 1000");
    c["startupProbe"] = json!({"tcpSocket": {"port": 1}, "periodSeconds": 1, "failureThreshold": 1});
    let uid = node.sync(&pod("startup", json!({"containers": [c]})));
    node.until(&uid, "restarted", |s| only(s).restart_count == 1).await;
    node.event("Unhealthy", "Startup probe failed: dial tcp 127.0.0.1:1: connect: connection refused").await;
    node.end().await;
}

#[tokio::test]
async fn hooks_after_start_and_before_stop() {
    let node = Node::new();
    let file = node.sign("diary");
    let say = |word: &str| json!({"exec": {"command": ["sh", "-c", format!("echo {word} $WHO >> {}", file.display())]}});
    let ready = node.sign("ready");
    let text = format!(
        "trap 'echo term >> {}; exit 0' TERM; echo 1 > {}; while true; do sleep 0.02; done",
        file.display(),
        ready.display()
    );
    let mut c = container("c", &text);
    c["env"] = json!([{"name": "WHO", "value": "me"}]);
    c["lifecycle"] = json!({"postStart": say("post"), "preStop": say("pre")});
    let uid = node.up(&pod("hooks", json!({"containers": [c]}))).await;
    crate::harness::file(&ready).await;
    node.remove(&uid, std::time::Duration::from_secs(20)).await;
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "post me\npre me\nterm\n");
    node.end().await;
}

#[tokio::test]
async fn a_failed_hook_after_start_kills_the_container() {
    let node = Node::new();
    let mut c = container("c", "exec sleep 1000");
    c["lifecycle"] = json!({"postStart": {"exec": {"command": ["sh", "-c", "echo secret; exit 1"]}}});
    let spec = json!({"containers": [c], "restartPolicy": "Never", "terminationGracePeriodSeconds": 1});
    let uid = node.sync(&pod("badhook", spec));
    node.until(&uid, "killed", is("terminated Error 143")).await;
    let event = node.event("FailedPostStartHook", "").await;
    assert_eq!(event.message, "PostStartHook failed");
    node.end().await;
}
