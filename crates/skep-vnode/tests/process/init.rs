//! Init containers and sidecars: who starts when, who stops when.

use std::time::Duration;

use serde_json::{Value, json};
use skep_vnode::backend::{PodBackend, PodLifecycle};

use crate::harness::*;

/// A container that writes down when it starts and when it is told to stop, and stops `linger` seconds later.
fn diary(name: &str, file: &std::path::Path, linger: &str) -> Value {
    let text = format!(
        "trap 'sleep {linger}; echo {name} stops >> {0}; exit 0' TERM; echo {name} starts >> {0}; while true; do sleep 0.02; done",
        file.display()
    );
    container(name, &text)
}

fn sidecar(mut container: Value) -> Value {
    container["restartPolicy"] = json!("Always");
    container
}

fn lines(file: &std::path::Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn order_of_starting_and_stopping() {
    let node = Node::new();
    let file = node.sign("diary");
    let step = |name: &str| container(name, &format!("sleep 0.05; echo {name} >> {}", file.display()));
    let mut first = sidecar(diary("side1", &file, "0"));
    // Not started before its startup probe succeeds: the next one waits for that.
    let up = node.sign("side1-up");
    first["startupProbe"] = json!({"exec": {"command": ["test", "-e", up]}});
    let spec = json!({
        "initContainers": [step("init1"), first, step("init2"), sidecar(diary("side2", &file, "0"))],
        "containers": [diary("main1", &file, "0.2"), diary("main2", &file, "0")]
    });
    let uid = node.sync(&pod("order", spec));
    let status = node
        .until(&uid, "side1 runs", |s| {
            s.init_container_statuses.get(1).is_some_and(|c| state(c) == "running")
        })
        .await;
    assert_eq!(status.init_container_statuses[1].started, Some(false));
    assert_eq!(state(&status.init_container_statuses[2]), "waiting PodInitializing: ");
    assert_eq!(state(&status.init_container_statuses[0]), "terminated Completed 0: ");
    assert!(status.init_container_statuses[0].ready);
    std::fs::write(&up, "").unwrap();
    node.until(&uid, "all ready", |s| s.container_statuses.iter().all(|c| c.ready)).await;
    file_has(&file, 6).await;
    let mut started = lines(&file);
    // A sidecar without a startup probe counts as started when its process runs, before its script has said anything.
    started[3..].sort();
    assert_eq!(started, ["init1", "side1 starts", "init2", "main1 starts", "main2 starts", "side2 starts"]);
    node.remove(&uid, Duration::from_secs(20)).await;
    let stopped = lines(&file).split_off(6);
    assert_eq!(stopped, ["main2 stops", "main1 stops", "side2 stops", "side1 stops"]);
    node.end().await;
}

async fn file_has(path: &std::path::Path, count: usize) {
    while lines(path).len() < count {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_failed_init_container_ends_a_pod_that_never_restarts() {
    let node = Node::new();
    let sign = node.sign("main");
    let file = node.sign("diary");
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [sidecar(diary("side", &file, "0")), container("init", "exit 9")],
        "containers": [container("c", &format!("touch {}", sign.display()))]
    });
    let uid = node.sync(&pod("failed", spec));
    let status = node
        .until(&uid, "sidecar stopped", |s| {
            s.init_container_statuses.first().is_some_and(|c| state(c).starts_with("terminated"))
        })
        .await;
    assert_eq!(state(&status.init_container_statuses[1]), "terminated Error 9: ");
    assert_eq!(state(only(&status)), "waiting PodInitializing: ");
    assert!(!sign.exists());
    node.end().await;
}

#[tokio::test]
async fn a_failed_init_container_is_tried_again() {
    let node = Node::new();
    let sign = node.sign("go");
    let spec = json!({
        "initContainers": [container("init", &format!("test -e {}", sign.display()))],
        "containers": [container("c", "exec sleep 1000")]
    });
    let uid = node.sync(&pod("again", spec));
    node.until(&uid, "backs off", |s| {
        s.init_container_statuses.first().is_some_and(|c| state(c).contains("CrashLoopBackOff"))
    })
    .await;
    std::fs::write(sign, "").unwrap();
    node.until(&uid, "runs", |s| only(s).ready).await;
    node.end().await;
}

#[tokio::test]
async fn a_sidecar_is_restarted_alone_and_ends_when_the_work_is_done() {
    let node = Node::new();
    let (file, crash, done) = (node.sign("diary"), node.sign("crash"), node.sign("done"));
    let side = format!(
        "trap 'exit 0' TERM; echo side >> {}; while ! [ -e {} ]; do sleep 0.02; done; rm {1}; exit 1",
        file.display(),
        crash.display()
    );
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [sidecar(container("side", &side))],
        "containers": [container("c", &format!("while ! [ -e {} ]; do sleep 0.02; done", done.display()))]
    });
    let uid = node.up(&pod("job", spec)).await;
    std::fs::write(&crash, "").unwrap();
    let status = node
        .until(&uid, "restarted", |s| {
            s.init_container_statuses[0].restart_count == 1 && s.init_container_statuses[0].ready
        })
        .await;
    assert_eq!(only(&status).restart_count, 0);
    std::fs::write(&done, "").unwrap();
    let status = node
        .until(&uid, "over", |s| {
            state(only(s)) == "terminated Completed 0: "
                && state(&s.init_container_statuses[0]).starts_with("terminated Completed")
        })
        .await;
    assert_eq!(status.lifecycle, PodLifecycle::Running, "nobody asked to stop it");
    assert!(node.backend.stats().await.unwrap().is_empty());
    node.end().await;
}
