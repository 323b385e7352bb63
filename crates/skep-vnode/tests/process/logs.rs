//! `kubectl logs` on containers that run, have run, and run again.

use futures::StreamExt;
use skep_vnode::backend::{LogOptions, PodBackend};

use crate::harness::*;

#[tokio::test]
async fn following_ends_with_the_container_and_misses_nothing() {
    let node = Node::new();
    let go = node.sign("go");
    let text =
        format!("echo first; while ! [ -e {} ]; do sleep 0.02; done; seq 1 5000; printf end", go.display());
    let mut pod = script("follow", &text);
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    let uid = node.up(&pod).await;
    let options = LogOptions { follow: true, ..LogOptions::default() };
    let mut stream = node.backend.logs(&uid, "c", options).await.unwrap();
    let mut text = String::new();
    while text.len() < 6 {
        text.push_str(std::str::from_utf8(&stream.next().await.unwrap().unwrap()).unwrap());
    }
    assert_eq!(text, "first\n");
    std::fs::write(go, "").unwrap();
    while let Some(chunk) = stream.next().await {
        text.push_str(std::str::from_utf8(&chunk.unwrap()).unwrap());
    }
    let numbers: String = (1..=5000).map(|n| format!("{n}\n")).collect();
    assert_eq!(text, format!("first\n{numbers}end"));
    let tail = LogOptions { tail_lines: Some(2), ..LogOptions::default() };
    assert_eq!(node.log(&uid, "c", tail).await, "5000\nend");
    node.end().await;
}

#[tokio::test]
async fn the_run_before_and_nothing_older() {
    let node = Node::new();
    let count = node.sign("count");
    let text = format!(
        "echo x >> {0}; n=$(wc -l < {0}); echo run $n; [ $n -lt 4 ] && exit 1; exec sleep 1000",
        count.display()
    );
    let uid = node.sync(&script("runs", &text));
    node.until(&uid, "fourth run", |s| only(s).restart_count == 3 && only(s).ready).await;
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    assert_eq!(node.log(&uid, "c", previous).await, "run 3\n");
    let files = std::fs::read_dir(node.dir.path().join("data/pods/uid-runs/logs/c")).unwrap().count();
    assert_eq!(files, 2);
    node.end().await;
}

#[tokio::test]
async fn a_loud_container_is_bounded_and_the_end_is_there() {
    let node = Node::new();
    let mut pod =
        script("loud", "yes 0123456789012345678901234567890123456789 | head -n 3000000; echo the end");
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    let uid = node.sync(&pod);
    node.until(&uid, "ends", is("terminated Completed")).await;
    let tail = LogOptions { tail_lines: Some(1), ..LogOptions::default() };
    assert_eq!(node.log(&uid, "c", tail).await, "the end\n");
    let logs = node.dir.path().join("data/pods/uid-loud");
    let bytes: u64 =
        std::fs::read_dir(logs.join("logs/c")).unwrap().map(|e| e.unwrap().metadata().unwrap().len()).sum();
    assert!(bytes < 70 << 20, "{bytes}");
    assert_eq!(std::fs::read_dir(logs.join("raw")).unwrap().count(), 0);
    node.end().await;
}
