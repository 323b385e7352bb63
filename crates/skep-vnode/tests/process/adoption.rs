//! A node that dies and comes back: what runs goes on, nothing is started twice, nothing is lost.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use skep_vnode::backend::{LogOptions, PodBackend};
use skep_vnode::process::{Marker, Spawn, marker, procfs};

use crate::harness::*;

const DIRECTORY: &str = "SKEP_TEST_NODE_DIRECTORY";
const INSTANCE: &str = "SKEP_TEST_NODE_INSTANCE";

/// Not a test of its own: another process that is the node until it is killed.
#[tokio::test]
#[ignore = "run by the tests below"]
async fn acts_as_node() {
    let (Ok(dir), Ok(instance)) = (std::env::var(DIRECTORY), std::env::var(INSTANCE)) else { return };
    let dir = Path::new(&dir);
    let backend = backend(&dir.join("data"), &instance);
    backend.recover().await.unwrap();
    let text = std::fs::read_to_string(dir.join("pods.json")).unwrap();
    let pods: Vec<k8s_openapi::api::core::v1::Pod> = serde_json::from_str(&text).unwrap();
    for pod in pods {
        backend.sync_pod(Arc::new(pod), context(Arc::default())).unwrap();
    }
    std::future::pending::<()>().await;
}

fn node_process(node: &Node) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "adoption::acts_as_node", "--ignored", "--nocapture"])
        .env(DIRECTORY, node.dir.path())
        .env(INSTANCE, &node.instance)
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

/// A container that counts its starts and prints numbers for ever.
fn counting(name: &str, dir: &Path) -> serde_json::Value {
    let text = format!(
        "echo $$ >> {}/{name}.pids; n=0; while true; do n=$((n+1)); echo {name} $n; sleep 0.01; done",
        dir.display()
    );
    container(name, &text)
}

async fn pids(dir: &Path, name: &str) -> Vec<i32> {
    file(&dir.join(format!("{name}.pids"))).await.lines().map(|l| l.parse().unwrap()).collect()
}

#[tokio::test]
async fn killed_again_and_again() {
    let mut node = Node::new();
    node.backend.release().await;
    let dir = node.dir.path().to_path_buf();
    let mut pods = Vec::new();
    for n in 0..3 {
        let containers = json!([counting(&format!("a{n}"), &dir), counting(&format!("b{n}"), &dir)]);
        pods.push(pod(&format!("p{n}"), json!({"containers": containers})));
    }
    std::fs::write(dir.join("pods.json"), serde_json::to_string(&pods).unwrap()).unwrap();
    // Each run is killed a little later than the one before: while it starts containers, while it adopts them.
    for round in 0..12 {
        let mut child = node_process(&node);
        tokio::time::sleep(Duration::from_millis(15 * round)).await;
        child.kill().unwrap();
        child.wait().unwrap();
    }
    node.backend = backend(&dir.join("data"), &node.instance);
    node.backend.recover().await.unwrap();
    for pod in &pods {
        let uid = node.up(pod).await;
        for c in &node.backend.status(&uid).unwrap().container_statuses {
            let alive: Vec<i32> = pids(&dir, &c.name)
                .await
                .into_iter()
                .filter(|p| procfs::stat(*p).is_some_and(|s| !s.is_zombie()))
                .collect();
            assert_eq!(alive.len(), 1, "{} runs exactly once", c.name);
        }
    }
    let leaders =
        marker::find(&Marker::new(&node.instance)).unwrap().into_iter().filter(|f| f.leader).count();
    assert_eq!(leaders, 6);
    for n in 0..3 {
        let uid = skep_vnode::backend::PodUid::parse(&format!("uid-p{n}")).unwrap();
        let name = format!("a{n}");
        let log = node.log(&uid, &name, LogOptions::default()).await;
        let expected: String = (1..=log.lines().count()).map(|k| format!("{name} {k}\n")).collect();
        assert_eq!(log, expected, "no line is lost and none is there twice");
        assert!(!log.is_empty());
    }
    node.end().await;
}

#[tokio::test]
async fn the_same_process_goes_on_and_its_end_is_seen() {
    let mut node = Node::new();
    let go = node.sign("go");
    let mut c =
        container("c", &format!("echo $$; while ! [ -e {} ]; do sleep 0.02; done; exit 6", go.display()));
    c["readinessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 1});
    let pod = pod("same", json!({"restartPolicy": "Never", "containers": [c]}));
    let uid = node.up(&pod).await;
    let before = only(&node.backend.status(&uid).unwrap()).clone();
    node.backend.release().await;
    node.backend = backend(&node.dir.path().join("data"), &node.instance);
    let recovered = node.backend.recover().await.unwrap();
    assert_eq!(
        (recovered.len(), recovered[0].running, recovered[0].pod_ip.to_string().as_str()),
        (1, 1, "127.0.0.1")
    );
    let status = node.until(&uid, "adopted", is("running")).await;
    let c = only(&status);
    assert_eq!(
        (c.container_id.clone(), c.started, c.ready),
        (before.container_id, Some(true), true),
        "it was ready all the time"
    );
    let mut session = node
        .backend
        .exec(
            &uid,
            "c",
            skep_vnode::backend::ExecRequest {
                command: ["sh", "-c", "echo $HOSTNAME"].map(str::to_owned).into(),
                stdout: true,
                ..Default::default()
            },
        )
        .await
        .unwrap();
    let mut text = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut session.stdout.take().unwrap(), &mut text).await.unwrap();
    assert_eq!(text, "same\n");
    node.sync(&pod);
    std::fs::write(go, "").unwrap();
    node.until(&uid, "its end is seen", is("terminated Error 6")).await;
    node.end().await;
}

#[tokio::test]
async fn what_ended_while_nobody_looked() {
    let mut node = Node::new();
    node.backend.release().await;
    let go = node.sign("go");
    let started = node.sign("started");
    let text = format!(
        "echo before; echo 1 > {}; while ! [ -e {} ]; do sleep 0.02; done; echo after",
        started.display(),
        go.display()
    );
    let pod = pod("away", json!({"restartPolicy": "Never", "containers": [container("c", &text)]}));
    std::fs::write(node.dir.path().join("pods.json"), serde_json::to_string(&[&pod]).unwrap()).unwrap();
    let mut child = node_process(&node);
    file(&started).await;
    child.kill().unwrap();
    child.wait().unwrap();
    std::fs::write(go, "").unwrap();
    let all = Marker::new(&node.instance);
    while !marker::find(&all).unwrap().is_empty() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    node.backend = backend(&node.dir.path().join("data"), &node.instance);
    let recovered = node.backend.recover().await.unwrap();
    assert_eq!(recovered[0].running, 0);
    let uid = &recovered[0].uid;
    let status =
        node.until(uid, "it is known to have ended", is("terminated ContainerStatusUnknown 137")).await;
    assert_eq!(only(&status).restart_count, 0);
    assert_eq!(
        node.log(uid, "c", LogOptions::default()).await,
        "before\nafter\n",
        "what it printed meanwhile is there"
    );
    node.end().await;
}

#[tokio::test]
async fn damage_and_strangers_are_cleared_away() {
    let mut node = Node::new();
    let uid = node.up(&script("damaged", "exec sleep 1000")).await;
    node.backend.release().await;
    let record = node.dir.path().join("data/pods/uid-damaged/pod.json");
    std::fs::write(&record, "{\"format\":").unwrap();
    // A process of a pod that has no directory any more.
    let marker = Marker::new(&node.instance).join("n1").join("uid-forgotten").join("c").join("0");
    let stranger = Spawn::new("/bin/sleep", &marker).args(["1000"]).start().unwrap();
    node.backend = backend(&node.dir.path().join("data"), &node.instance);
    assert_eq!(node.backend.recover().await.unwrap().len(), 0);
    assert!(node.backend.status(&uid).is_none());
    stranger.wait().await;
    assert_eq!(marker::find(&Marker::new(&node.instance)).unwrap(), []);
    node.end().await;
}
