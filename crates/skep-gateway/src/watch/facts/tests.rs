use serde_json::{Value, json};

use super::*;
use crate::routes::Key;

fn pod_of(change: impl FnOnce(&mut Value)) -> Option<PodFact> {
    let mut value = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "kube-apiserver-0", "namespace": "demo-abcd2345", "uid": "u1",
            "labels": {"skep.dev/component": "kube-apiserver", "skep.dev/tenant": "demo-abcd2345"},
        },
        "spec": {"containers": [{"name": "kube-apiserver", "image": "skep.dev/kube:v1.36.3"}]},
        "status": {
            "phase": "Running", "podIP": "127.64.128.7",
            "conditions": [{"type": "PodScheduled", "status": "True"}, {"type": "Ready", "status": "True"}],
        },
    });
    change(&mut value);
    pod(&serde_json::from_value(value).unwrap(), 6443)
}

#[test]
fn a_ready_pod() {
    let fact = pod_of(|_| ()).unwrap();
    assert_eq!(fact.key, Key::new("demo-abcd2345", "kube-apiserver-0"));
    assert_eq!(fact.address, Some("127.64.128.7:6443".parse().unwrap()));
    assert!(fact.ready);
    assert_eq!((fact.uid.as_str(), fact.tenant.as_str()), ("u1", "demo-abcd2345"));
}

#[test]
fn deletion_and_conditions_decide_about_readiness() {
    let ready = |change: fn(&mut Value)| pod_of(change).unwrap().ready;
    assert!(!ready(|p| p["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z")));
    assert!(!ready(|p| p["status"]["conditions"][1]["status"] = json!("False")));
    assert!(!ready(|p| p["status"]["conditions"] = json!([])));
    assert!(!ready(|p| p["status"] = Value::Null));
}

#[test]
fn a_deleted_pod_says_when_it_closes() {
    let closing = |change: fn(&mut Value)| {
        let deleted = |p: &mut Value| {
            p["metadata"]["annotations"] = json!({"skep.dev/closes-after-ms": "5000"});
            p["metadata"]["deletionTimestamp"] = json!("1970-01-01T00:01:40Z");
            p["metadata"]["deletionGracePeriodSeconds"] = json!(75);
            change(p);
        };
        pod_of(deleted).unwrap().closing
    };
    let after = std::time::Duration::from_secs(5);
    assert_eq!(closing(|_| ()), Some(Closing { asked: 25, after }));
    assert_eq!(
        closing(|p| p["metadata"]["deletionGracePeriodSeconds"] = Value::Null),
        Some(Closing { asked: 100, after })
    );
    assert_eq!(closing(|p| p["metadata"]["deletionTimestamp"] = Value::Null), None);
    assert_eq!(closing(|p| p["metadata"]["annotations"] = Value::Null), None);
    assert_eq!(closing(|p| p["metadata"]["annotations"]["skep.dev/closes-after-ms"] = json!("soon")), None);
}

#[test]
fn a_pod_without_an_address_or_tenant() {
    assert_eq!(pod_of(|p| p["status"] = json!({"phase": "Pending"})).unwrap().address, None);
    assert_eq!(pod_of(|p| p["metadata"]["labels"] = json!({"skep.dev/component": "kube-apiserver"})), None);
    assert_eq!(pod_of(|p| p["metadata"]["labels"] = Value::Null), None);
}

#[test]
fn a_port_named_https_counts() {
    let fact = pod_of(|p| {
        p["spec"]["containers"][0]["ports"] =
            json!([{"containerPort": 9, "name": "metrics"}, {"containerPort": 8443, "name": "https"}]);
    });
    assert_eq!(fact.unwrap().address.unwrap().port(), 8443);
}

#[test]
fn an_ipv6_pod() {
    let fact = pod_of(|p| p["status"]["podIP"] = json!("2001:db8::1")).unwrap();
    assert_eq!(fact.address, Some("[2001:db8::1]:6443".parse().unwrap()));
}

fn plane(host: &str) -> Option<ControlPlaneFact> {
    let value = json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "ControlPlane",
        "metadata": {"name": "demo", "namespace": "demo-abcd2345", "creationTimestamp": "1970-01-01T00:01:00Z"},
        "spec": {"tenant": "demo-abcd2345", "version": "v1.36.3", "endpoint": {"host": host, "port": 6443}},
        "status": {"conditions": []},
    });
    control_plane(&serde_json::from_value(value).unwrap())
}

#[test]
fn a_control_plane() {
    let fact = plane("Demo-abcd2345.skep.internal").unwrap();
    assert_eq!((fact.created, fact.tenant.as_str()), (60, "demo-abcd2345"));
    assert_eq!(fact.host, "demo-abcd2345.skep.internal");
    assert_eq!(plane("not a host"), None);
    assert_eq!(plane(""), None);
}
