//! What pods say, and what is made of it.

use serde_json::{Value, json};
use skep_api::labels::component;

use super::*;
use crate::fixtures::{manifests, owner};

fn workload() -> Workload {
    let mut all = manifests(&owner(|spec| spec.api_server.replicas = 2)).workloads;
    all.remove(0)
}

fn pod(revision: &str, status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {"name": "api-1", "labels": {
            labels::COMPONENT: component::API_SERVER, names::REVISION_LABEL: revision, names::VERSION_LABEL: "v1.36.3",
        }},
        "status": status,
    }))
    .unwrap()
}

fn ready() -> Value {
    json!({"conditions": [{"type": "Ready", "status": "True"}]})
}

fn container(state: Value, last: Value, restarts: i32) -> Value {
    json!({"containerStatuses": [{"name": "kube-apiserver", "image": "skep.dev/kube:v1.36.3", "imageID": "",
        "ready": false, "restartCount": restarts, "state": state, "lastState": last}]})
}

fn trouble_of(status: Value) -> Option<(&'static str, String)> {
    let workload = workload();
    let copies = copies(&workload, &[pod(&workload.revision, status)], &[]);
    copies.trouble.map(|trouble| (trouble.reason, trouble.message))
}

#[test]
fn pods_count_by_revision_and_readiness() {
    let workload = workload();
    let mut going = pod(&workload.revision, ready());
    going.metadata.deletion_timestamp = serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap();
    let mut other = pod(&workload.revision, ready());
    other.metadata.labels.as_mut().unwrap().insert(labels::COMPONENT.into(), component::SCHEDULER.into());
    let pods = [
        pod(&workload.revision, ready()),
        pod(&workload.revision, json!({})),
        pod("old", ready()),
        pod("old", json!({})),
        going,
        other,
    ];
    let copies = copies(&workload, &pods, &[]);
    assert_eq!((copies.wanted, copies.ready, copies.old, copies.old_ready), (2, 1, 2, 1));
    assert!(!copies.settled());
    assert_eq!(copies.working(), 2);
    assert_eq!(api_servers(&pods).len(), 4, "what is on its way out gets nothing new to do");
}

#[test]
fn settled_means_all_new_and_none_old() {
    let workload = workload();
    let both = [pod(&workload.revision, ready()), pod(&workload.revision, ready())];
    assert!(copies(&workload, &both, &[]).settled());
    assert!(!copies(&workload, &[&both[..], &[pod("old", ready())]].concat(), &[]).settled());
}

#[test]
fn a_pod_that_is_only_starting_is_no_trouble() {
    let creating = json!({"waiting": {"reason": "ContainerCreating", "message": "waits for its volumes"}});
    for state in
        [json!({}), creating, json!({"running": {}}), json!({"waiting": {"reason": "PodInitializing"}})]
    {
        assert_eq!(trouble_of(container(state, json!({}), 0)), None);
    }
}

#[test]
fn every_trouble_has_a_reason_and_says_what_to_do_or_what_was_said() {
    let crash = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}});
    let said = |code: i32, reason: &str, message: Value| json!({"terminated": {"exitCode": code, "reason": reason, "message": message}});
    let long = format!("{}\nlast \u{1b}[31mline\n\n", "x".repeat(3000));
    let cases = [
        container(crash.clone(), said(1, "Error", json!("a\nError: unknown flag: --foo\n")), 4),
        container(crash.clone(), said(137, "OOMKilled", Value::Null), 1),
        container(crash.clone(), json!({"terminated": {"exitCode": 0, "signal": 9}}), 1),
        container(said(2, "Error", json!("first end")), json!({}), 0),
        container(crash, said(1, "Error", json!(long)), 1),
        container(
            json!({"waiting": {"reason": "ErrImagePull", "message": "known images: a, b"}}),
            json!({}),
            0,
        ),
        container(
            json!({"waiting": {"reason": "CreateContainerConfigError", "message": "secret \"x\" not found"}}),
            json!({}),
            0,
        ),
        json!({"conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes are available: Insufficient memory."}]}),
    ];
    let lines: Vec<String> = cases
        .into_iter()
        .map(|case| {
            trouble_of(case).map_or("none".into(), |(reason, message)| format!("{reason}: {}", cut(&message)))
        })
        .collect();
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn pods_that_are_refused_are_told_by_their_deployment() {
    let workload = workload();
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "kube-apiserver", "labels": {names::VERSION_LABEL: "v1.35.4"}},
        "status": {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"}]},
    }))
    .unwrap();
    let copies = copies(&workload, &[], std::slice::from_ref(&deployment));
    assert_eq!(copies.trouble.unwrap().message, "pods of kube-apiserver are refused: exceeded quota");
    assert_eq!(applied_version(Program::KubeApiserver, &[deployment]).unwrap().to_string(), "v1.35.4");
}

/// The beginning and the end of a long text, and its length.
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count < 300 {
        return text.to_owned();
    }
    let (head, tail): (String, String) =
        (text.chars().take(80).collect(), text.chars().skip(count - 20).collect());
    format!("{head}…{tail} ({count})")
}
