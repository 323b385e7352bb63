//! The real fixture: it serves, and nothing of it is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, api::PostParams};
use serde_json::json;
use skep_testkit::{ApiServer, PATIENCE, apiserver::guard::Guarded};

#[tokio::test]
async fn it_serves_objects_and_our_kinds() {
    let server = ApiServer::shared().await.unwrap();
    let client = server.client().await.unwrap();
    let namespace = server.namespace(&client, "fixture").await.unwrap();
    let configs: Api<ConfigMap> = Api::namespaced(client.clone(), &namespace);
    let config = serde_json::from_value(json!({"metadata": {"name": "a"}, "data": {"k": "v"}})).unwrap();
    configs.create(&PostParams::default(), &config).await.unwrap();
    assert_eq!(configs.get("a").await.unwrap().data.unwrap()["k"], "v");

    let clusters: Api<skep_api::Cluster> = Api::namespaced(client.clone(), &namespace);
    assert!(clusters.list(&Default::default()).await.unwrap().items.is_empty());

    let pods: Api<Pod> = Api::namespaced(client, &namespace);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod).unwrap()).await.unwrap();
}

#[tokio::test]
async fn tests_of_one_binary_share_a_server_but_not_a_namespace() {
    let server = ApiServer::shared().await.unwrap();
    let client = server.client().await.unwrap();
    let first = server.namespace(&client, "mine").await.unwrap();
    let second = server.namespace(&client, "mine").await.unwrap();
    assert_ne!(first, second);
}

#[test]
fn a_dropped_guard_takes_its_process_and_directory_along() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("fixture");
    fs::create_dir(&inside).unwrap();
    let guarded = Guarded::spawn("sleep", &inside, Path::new("/bin/sleep"), &["1000".into()]).unwrap();
    let pid = pid_of(&guarded);
    assert!(!guarded.has_ended());
    drop(guarded);
    assert!(is_gone(pid));
    assert!(!inside.exists());
}

#[test]
fn a_killed_test_process_leaves_nothing_running() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "victim", "--ignored", "--nocapture"])
        .env("SKEP_TEST_VICTIM", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let pid =
        lines.find_map(|line| line.split_once("guarded pid ").map(|(_, pid)| pid.trim().to_owned())).unwrap();
    let pid: u32 = pid.parse().unwrap();
    assert!(!is_gone(pid));
    child.kill().unwrap();
    child.wait().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !is_gone(pid) || directory.path().join("fixture").exists() {
        assert!(Instant::now() < deadline, "process {pid} or its directory is still there");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Not a test: the process that the one above kills.
#[test]
#[ignore = "started by another test"]
fn victim() {
    let Some(directory) = std::env::var_os("SKEP_TEST_VICTIM") else { return };
    let inside = Path::new(&directory).join("fixture");
    fs::create_dir(&inside).unwrap();
    let guarded = Guarded::spawn("sleep", &inside, Path::new("/bin/sleep"), &["1000".into()]).unwrap();
    println!("guarded pid {}", pid_of(&guarded));
    std::thread::sleep(Duration::from_secs(600));
}

fn pid_of(guarded: &Guarded) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(pid) = guarded.pid() {
            return pid;
        }
        assert!(Instant::now() < deadline, "no pid: {}", guarded.log_tail());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_gone(pid: u32) -> bool {
    !Path::new(&format!("/proc/{pid}")).exists()
}
