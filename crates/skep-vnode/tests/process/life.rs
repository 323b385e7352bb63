//! What a container is given, how it ends, and when it is started again.

use serde_json::json;
use skep_vnode::backend::{LogOptions, PodBackend, PodLifecycle, ResizeState, ResourceEnforcement};

use crate::harness::*;

#[tokio::test]
async fn a_container_runs_and_is_ready() {
    let node = Node::new();
    let pod = script("run", "echo hello; exec sleep 1000");
    let uid = node.up(&pod).await;
    let status = node.backend.status(&uid).unwrap();
    let c = only(&status);
    assert_eq!(
        (status.lifecycle, status.volumes_ready, status.observed_generation),
        (PodLifecycle::Running, true, Some(1))
    );
    assert_eq!(
        (state(c).as_str(), c.started, c.restart_count, c.image.as_str()),
        ("running", Some(true), 0, "host")
    );
    assert_eq!(c.image_id, "id-of-host");
    assert_eq!(c.container_id.as_deref(), Some("skep-process://uid-run_c_0"));
    node.event("Started", "Container started").await;
    assert_eq!(node.log(&uid, "c", LogOptions::default()).await, "hello\n");
    let stats = node.backend.stats().await.unwrap();
    let container = &stats[0].containers[0];
    assert_eq!((stats[0].name.as_str(), container.name.as_str(), container.processes), ("run", "c", 1));
    assert!(container.rss > 0 && container.working_set > 0 && container.working_set <= container.rss);
    node.end().await;
}

#[tokio::test]
async fn environment_paths_and_messages_from_end_to_end() {
    let node = Node::new();
    node.objects.map("settings", &[("COLOUR", "blue")]);
    node.objects.secret("pw", &[("password", "s3cret")]);
    let text = "echo \"$1|$COLOUR|$PW|$WHERE|$IP|$HOSTNAME|$(cat /config/COLOUR)|$(pwd)\"; echo data > $WHERE/file; echo bye > /dev/termination-log";
    let pod = pod(
        "all",
        json!({
            "restartPolicy": "Never",
            "volumes": [{"name": "config", "configMap": {"name": "settings"}}, {"name": "scratch", "emptyDir": {}}],
            "containers": [{
                "name": "c", "image": "host", "command": ["sh", "-c", text, "sh"], "args": ["--dir=/data/$(COLOUR),/data"],
                "workingDir": "/data/work",
                "envFrom": [{"configMapRef": {"name": "settings"}}],
                "env": [
                    {"name": "PW", "valueFrom": {"secretKeyRef": {"name": "pw", "key": "password"}}},
                    {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                    {"name": "WHERE", "value": "/data"}
                ],
                "volumeMounts": [{"name": "config", "mountPath": "/config"}, {"name": "scratch", "mountPath": "/data"}]
            }]
        }),
    );
    let uid = node.sync(&pod);
    let status = node.until(&uid, "ended", is("terminated")).await;
    assert_eq!(state(only(&status)), "terminated Completed 0: bye\n");
    let scratch = node.dir.path().join("data/pods/uid-all/volumes/scratch");
    let scratch = scratch.display();
    let expected =
        format!("--dir={scratch}/blue,{scratch}|blue|s3cret|{scratch}|127.0.0.1|all|blue|{scratch}/work\n");
    assert_eq!(node.log(&uid, "c", LogOptions::default()).await, expected);
    assert_eq!(std::fs::read_to_string(format!("{scratch}/file")).unwrap(), "data\n");
    node.end().await;
}

#[tokio::test]
async fn nothing_secret_in_what_is_written_down() {
    let node = Node::new();
    node.objects.secret("pw", &[("password", "s3cret")]);
    let mut pod = script("quiet", "exec sleep 1000");
    let env = json!([{"name": "PW", "valueFrom": {"secretKeyRef": {"name": "pw", "key": "password"}}}]);
    pod.spec.as_mut().unwrap().containers[0].env = serde_json::from_value(env).unwrap();
    let uid = node.up(&pod).await;
    let root = node.dir.path().join("data/pods/uid-quiet");
    for file in [root.join("pod.json"), root.join("containers/c/0.json")] {
        assert!(!std::fs::read_to_string(&file).unwrap().contains("s3cret"));
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
    assert!(!format!("{:?}", node.backend.status(&uid)).contains("s3cret"));
    node.end().await;
}

#[tokio::test]
async fn a_crashing_container_is_restarted_with_back_off() {
    let node = Node::new();
    let pod = script("crash", "echo run; exit 3");
    let uid = node.sync(&pod);
    let status = node.until(&uid, "backs off", is("waiting CrashLoopBackOff")).await;
    let c = only(&status);
    assert!(state(c).contains("restarting failed container=c pod=crash_ns(uid-crash)"), "{}", state(c));
    assert_eq!((last_state(c).as_str(), c.ready), ("terminated Error 3: ", false));
    node.until(&uid, "goes on", |s| only(s).restart_count >= 3).await;
    node.event("BackOff", "Back-off restarting failed container c in pod crash_ns(uid-crash)").await;
    node.end().await;
}

#[tokio::test]
async fn on_failure_and_never() {
    let node = Node::new();
    let count = node.sign("count");
    let text = format!("echo x >> {0}; [ $(wc -l < {0}) -ge 3 ]", count.display());
    let mut spec = json!({"restartPolicy": "OnFailure", "containers": [container("c", &text)]});
    let uid = node.sync(&pod("retry", spec.clone()));
    let status = node.until(&uid, "completes", is("terminated Completed")).await;
    assert_eq!(only(&status).restart_count, 2);
    spec["restartPolicy"] = json!("Never");
    spec["containers"] = json!([container("c", "exit 4")]);
    let uid = node.sync(&pod("once", spec));
    let status = node.until(&uid, "fails", is("terminated Error 4")).await;
    assert_eq!((only(&status).restart_count, status.lifecycle), (0, PodLifecycle::Running));
    node.end().await;
}

#[tokio::test]
async fn the_log_stands_in_for_a_message_and_messages_are_bounded() {
    let node = Node::new();
    let mut spec = json!({"restartPolicy": "Never", "containers": [container("c", "echo why >&2; exit 1")]});
    spec["containers"][0]["terminationMessagePolicy"] = json!("FallbackToLogsOnError");
    let uid = node.sync(&pod("fallback", spec.clone()));
    let status = node.until(&uid, "fails", is("terminated")).await;
    assert_eq!(state(only(&status)), "terminated Error 1: why\n");
    spec["containers"] = json!([container("c", "head -c 10000 /dev/zero | tr '\\0' x > /tmp/msg")]);
    spec["containers"][0]["terminationMessagePath"] = json!("/tmp/msg");
    let uid = node.sync(&pod("long", spec));
    let status = node.until(&uid, "ends", is("terminated")).await;
    assert_eq!(state(only(&status)), format!("terminated Completed 0: {}", "x".repeat(4096)));
    node.end().await;
}

#[tokio::test]
async fn a_changed_image_replaces_the_container_and_resources_change_in_place() {
    let node = Node::new();
    let mut pod = script("change", "exec sleep 1000");
    pod.spec.as_mut().unwrap().containers[0].resources =
        serde_json::from_value(json!({"requests": {"cpu": "100m"}})).unwrap();
    let uid = node.up(&pod).await;
    let first = only(&node.backend.status(&uid).unwrap()).clone();
    pod.spec.as_mut().unwrap().containers[0].resources =
        serde_json::from_value(json!({"requests": {"cpu": "200m"}})).unwrap();
    pod.metadata.generation = Some(2);
    node.sync(&pod);
    let status = node.until(&uid, "resized", |s| s.observed_generation == Some(2)).await;
    let c = only(&status);
    assert_eq!(c.container_id, first.container_id, "same container");
    assert_eq!(c.allocated_resources.as_ref().unwrap()["cpu"].0, "200m");
    assert_eq!(status.resize, ResizeState::Done);
    assert_eq!(node.backend.enforcement(), ResourceEnforcement::Accounted);
    pod.spec.as_mut().unwrap().containers[0].image = Some("host2".into());
    node.sync(&pod);
    let status = node.until(&uid, "replaced", |s| only(s).ready && only(s).image_id == "id-of-host2").await;
    assert_eq!(only(&status).restart_count, 1);
    node.event("Killing", "Container c definition changed, will be restarted").await;
    node.end().await;
}
