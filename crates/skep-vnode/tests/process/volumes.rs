//! Volumes while containers run.

use serde_json::json;
use skep_vnode::backend::{PodBackend, PodLifecycle};

use crate::harness::*;

#[tokio::test]
async fn a_mounted_secret_changes_under_a_running_container() {
    let node = Node::new();
    node.objects.secret("tls", &[("a", "old"), ("b", "old")]);
    let out = node.sign("seen");
    let text = format!(
        "while true; do cat /tls/a /tls/b > {0}.tmp && echo >> {0}.tmp && mv {0}.tmp {0}; sleep 0.02; done",
        out.display()
    );
    let mut c = container("c", &text);
    c["volumeMounts"] = json!([{"name": "tls", "mountPath": "/tls", "readOnly": true}]);
    let pod = pod(
        "secret",
        json!({"volumes": [{"name": "tls", "secret": {"secretName": "tls"}}], "containers": [c]}),
    );
    let uid = node.up(&pod).await;
    assert_eq!(file(&out).await, "oldold\n");
    node.objects.secret("tls", &[("a", "new"), ("b", "new")]);
    node.sync(&pod);
    while file(&out).await != "newnew\n" {
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(only(&node.backend.status(&uid).unwrap()).restart_count, 0);
    node.end().await;
}

#[tokio::test]
async fn claims_outlive_the_pod_and_directories_do_not() {
    let node = Node::new();
    let claim = node.sign("claim");
    std::fs::create_dir(&claim).unwrap();
    node.objects.claims.lock().unwrap().insert("data".into(), claim.clone());
    let mut c = container(
        "c",
        "echo kept > /data/file; mkdir -p /scratch/d; touch /scratch/d/f; chmod 0 /scratch/d; exec sleep 1000",
    );
    c["volumeMounts"] =
        json!([{"name": "data", "mountPath": "/data"}, {"name": "scratch", "mountPath": "/scratch"}]);
    let volumes = json!([{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}, {"name": "scratch", "emptyDir": {}}]);
    let uid = node.up(&pod("claims", json!({"volumes": volumes, "containers": [c]}))).await;
    file(&claim.join("file")).await;
    node.remove(&uid, std::time::Duration::from_secs(5)).await;
    assert_eq!(std::fs::read_to_string(claim.join("file")).unwrap(), "kept\n");
    assert!(!node.dir.path().join("data/pods/uid-claims").exists());
    node.end().await;
}

#[tokio::test]
async fn a_directory_beyond_its_limit_ends_the_pod() {
    let node = Node::new();
    let mut c = container("c", "head -c 300000 /dev/zero > /scratch/big; exec sleep 1000");
    c["volumeMounts"] = json!([{"name": "scratch", "mountPath": "/scratch"}]);
    let spec =
        json!({"volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "100Ki"}}], "containers": [c]});
    let uid = node.sync(&pod("big", spec));
    let status = node.until(&uid, "evicted", |s| s.lifecycle == PodLifecycle::Stopped).await;
    let eviction = status.eviction.as_ref().unwrap();
    assert_eq!(
        (eviction.reason, eviction.message.as_str()),
        ("Evicted", "Usage of EmptyDir volume \"scratch\" exceeds the limit \"100Ki\". ")
    );
    node.end().await;
}
