//! Bad input and missing things, told as the kubelet tells them.

use serde_json::json;
use skep_vnode::backend::{LogOptions, PodBackend, PodUid};
use skep_vnode::process::{ProcessBackend, ProcessConfig};

use crate::harness::*;

#[tokio::test]
async fn an_unknown_image_says_which_exist() {
    let node = Node::new();
    let mut pod = script("image", "true");
    pod.spec.as_mut().unwrap().containers[0].image = Some("nosuch:v1".into());
    let uid = node.sync(&pod);
    let text = "SKEP-7101: image \"nosuch:v1\" is not known here; known: empty, host";
    let status = node.until(&uid, "ErrImagePull", is("waiting ErrImagePull")).await;
    assert_eq!(state(only(&status)), format!("waiting ErrImagePull: {text}"));
    let status = node.until(&uid, "ImagePullBackOff", is("waiting ImagePullBackOff")).await;
    assert!(state(only(&status)).contains(text));
    assert_eq!(only(&status).restart_count, 0);
    node.event("Failed", text).await;
    // The right name: it goes on at once.
    pod.spec.as_mut().unwrap().containers[0].image = Some("host".into());
    pod.spec.as_mut().unwrap().containers[0].command = Some(["sleep", "1000"].map(str::to_owned).into());
    node.up(&pod).await;
    node.end().await;
}

#[tokio::test]
async fn a_missing_object_of_the_environment_is_waited_for() {
    let node = Node::new();
    let mut pod = script("config", "exec sleep 1000");
    let env = json!([{"name": "A", "valueFrom": {"secretKeyRef": {"name": "late", "key": "k"}}}]);
    pod.spec.as_mut().unwrap().containers[0].env = serde_json::from_value(env).unwrap();
    let uid = node.sync(&pod);
    let status = node.until(&uid, "config error", is("waiting CreateContainerConfigError")).await;
    assert_eq!(state(only(&status)), "waiting CreateContainerConfigError: secret \"late\" not found");
    node.objects.secret("late", &[("k", "v")]);
    node.up(&pod).await;
    assert_eq!(only(&node.backend.status(&uid).unwrap()).restart_count, 0);
    node.end().await;
}

#[tokio::test]
async fn a_missing_volume_is_waited_for() {
    let node = Node::new();
    let pod = pod(
        "mount",
        json!({
            "volumes": [{"name": "v", "secret": {"secretName": "late"}}],
            "containers": [container("c", "exec sleep 1000")]
        }),
    );
    let uid = node.sync(&pod);
    node.event("FailedMount", "MountVolume.SetUp failed for volume \"v\" : secret \"late\" not found").await;
    assert_eq!(state(only(&node.backend.status(&uid).unwrap())), "waiting ContainerCreating: ");
    let missing = node.backend.logs(&uid, "c", LogOptions::default()).await.err().unwrap();
    assert_eq!(
        missing.to_string(),
        "container \"c\" in pod \"mount\" is waiting to start: ContainerCreating"
    );
    node.objects.secret("late", &[("k", "v")]);
    // Nobody says so: it is found by itself.
    node.until(&uid, "ready", |s| only(s).ready).await;
    node.end().await;
}

#[tokio::test]
async fn a_program_that_is_not_there() {
    let node = Node::new();
    let command = |restart: &str, command: serde_json::Value| json!({"restartPolicy": restart, "containers": [{"name": "c", "image": "host", "command": command}]});
    let uid = node.sync(&pod("never", command("Never", json!(["nosuch"]))));
    let status = node.until(&uid, "fails", is("terminated")).await;
    let text = "failed to start container \"c\": exec: \"nosuch\": executable file not found in $PATH";
    assert_eq!(state(only(&status)), format!("terminated StartError 128: {text}"));
    let uid = node.sync(&pod("always", command("Always", json!(["/no/such"]))));
    let status = node.until(&uid, "RunContainerError", is("waiting RunContainerError")).await;
    assert!(state(only(&status)).contains("\"/no/such\": no such file or directory"));
    assert!(last_state(only(&status)).starts_with("terminated StartError 128"));
    node.until(&uid, "backs off", is("waiting CrashLoopBackOff")).await;
    let mut bare = command("Always", json!([]));
    bare["containers"][0]["image"] = json!("empty");
    let uid = node.sync(&pod("bare", bare));
    let status = node.until(&uid, "no command", is("waiting CreateContainerError")).await;
    assert_eq!(state(only(&status)), "waiting CreateContainerError: no command specified");
    node.end().await;
}

#[tokio::test]
async fn pods_that_cannot_be() {
    let node = Node::new();
    let refused = |pod: &k8s_openapi::api::core::v1::Pod| {
        let context = context(node.objects.clone());
        node.backend.sync_pod(std::sync::Arc::new(pod.clone()), context).unwrap_err().to_string()
    };
    let mut nameless = script("x", "true");
    nameless.metadata.uid = Some("../../etc".into());
    assert_eq!(refused(&nameless), "\"../../etc\" is not the uid of a pod");
    assert_eq!(refused(&pod("none", json!({"containers": []}))), "SKEP-7102: the pod has no containers");
    let bad = pod("bad", json!({"containers": [container("../up", "true")]}));
    assert_eq!(refused(&bad), "SKEP-7102: container name: \"../up\" is not a name");
    let windows = pod("win", json!({"os": {"name": "windows"}, "containers": [container("c", "true")]}));
    assert!(refused(&windows).contains("another operating system"));
    assert!(node.backend.pods().is_empty());
    let nobody = PodUid::parse("nobody").unwrap();
    assert!(node.backend.stop_pod(&nobody, std::time::Duration::ZERO).is_err());
    assert!(node.backend.status(&nobody).is_none());
    node.backend.remove_pod(&nobody).await.unwrap();
    node.end().await;
}

#[tokio::test]
async fn one_run_of_a_node_at_a_time() {
    let node = Node::new();
    let config = ProcessConfig::new(node.dir.path().join("data"), "x", "n1", std::sync::Arc::new(Images));
    let error = ProcessBackend::new(config.clone()).err().unwrap().to_string();
    assert!(error.starts_with("SKEP-7103: node n1 already runs"), "{error}");
    node.backend.release().await;
    assert!(ProcessBackend::new(config).is_ok());
    node.end().await;
}

#[tokio::test]
async fn unknown_containers_and_running_pods() {
    let node = Node::new();
    let uid = node.up(&script("here", "exec sleep 1000")).await;
    let error = node.backend.logs(&uid, "x", LogOptions::default()).await.err().unwrap().to_string();
    assert_eq!(error, "container \"x\" is not in pod ns/here; it has: c");
    let previous = LogOptions { previous: true, ..LogOptions::default() };
    let error = node.backend.logs(&uid, "c", previous).await.err().unwrap().to_string();
    assert_eq!(error, "previous terminated container \"c\" in pod \"here\" not found");
    let error = node.backend.remove_pod(&uid).await.unwrap_err().to_string();
    assert!(error.contains("still has running processes"), "{error}");
    node.end().await;
}
