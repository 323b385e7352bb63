//! Creation, refusal, pause, deletion: one step at a time.

use std::sync::Arc;

use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;
use skep_api::cluster::Phase;
use skep_api::condition::ConditionType::{Accepted, Paused, Progressing, Ready};
use skep_api::{Cluster, Machine};
use skep_kubeops::Reconciler as _;

use crate::hub::{Hub, delete_secret};

async fn running() -> Hub {
    let mut hub = Hub::with_cluster().await;
    hub.settle().await.unwrap();
    assert!(hub.condition(Ready).starts_with("True Serving"), "{}", hub.condition(Ready));
    hub
}

async fn delete(hub: &Hub) {
    let clusters: Api<Cluster> = Api::namespaced(hub.fake.client(), "default");
    clusters.delete("demo", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_cluster_becomes_a_control_plane_and_a_kubeconfig() {
    let hub = running().await;
    let status = hub.cluster().unwrap().status.unwrap();
    let tenant = hub.tenant();
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::Ready), Some(1)));
    assert_eq!(status.tenant.as_deref(), Some(tenant.as_str()));
    assert_eq!(status.endpoint.unwrap().host, format!("{tenant}.skep.internal"));
    assert_eq!(status.kubeconfig_secret.as_deref(), Some("demo-kubeconfig"));
    let secret = hub.kubeconfig().unwrap();
    assert_eq!(
        (&secret["type"], &secret["data"]["value"]),
        (&json!("cluster.x-k8s.io/secret"), &json!("a3ViZQ=="))
    );
    assert_eq!(secret["metadata"]["ownerReferences"][0]["kind"], "Cluster");
}

#[tokio::test]
async fn what_does_not_exist_is_refused_with_what_does() {
    let mut hub = Hub::with_cluster().await;
    for (spec, reason, known) in [
        (json!({"profile": "gold"}), "UnknownProfile", "standard"),
        (json!({"size": {"class": "huge"}}), "UnknownSizeClass", "small, medium, large"),
        (json!({"version": "v1.2.3"}), "UnknownVersion", "v1.36.3"),
    ] {
        hub.change(|old| *old = spec);
        hub.settle().await.unwrap();
        let said = hub.condition(Accepted);
        assert!(said.starts_with(&format!("False {reason}")) && said.contains(known), "{said}");
        assert_eq!(hub.cluster().unwrap().status.unwrap().observed_generation, None);
        assert!(hub.control_plane().is_none());
    }
    hub.change(|spec| *spec = json!({}));
    hub.settle().await.unwrap();
    assert!(hub.condition(Accepted).starts_with("True Resolved"));
    assert!(hub.condition(Ready).starts_with("True Serving"));
}

#[tokio::test]
async fn a_running_cluster_keeps_running_when_its_spec_cannot_be_fulfilled() {
    let mut hub = running().await;
    let before = hub.control_plane().unwrap()["spec"].clone();
    hub.change(|spec| spec["profile"] = json!("gold"));
    hub.settle().await.unwrap();
    let status = hub.cluster().unwrap().status.unwrap();
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::Refused), Some(1)));
    let said = hub.condition(Accepted);
    assert!(said.contains("gold") && said.contains("standard"), "{said}");
    assert!(hub.condition(Ready).starts_with("True Refused"), "{}", hub.condition(Ready));
    assert_eq!(hub.control_plane().unwrap()["spec"], before);
}

#[tokio::test]
async fn a_paused_cluster_is_left_alone() {
    let mut hub = running().await;
    let before = hub.control_plane().unwrap()["spec"].clone();
    hub.change(|spec| *spec = json!({"reconciliation": "Paused", "size": {"class": "huge"}}));
    delete_secret(&hub).await;
    hub.settle().await.unwrap();
    let mut paused = hub.control_plane().unwrap()["spec"].clone();
    assert_eq!(paused["reconciliation"], "Paused");
    paused["reconciliation"] = before["reconciliation"].clone();
    assert_eq!(paused, before);
    assert!(hub.kubeconfig().is_none(), "nothing is written");
    assert!(hub.condition(Paused).starts_with("True AskedFor"));
    assert!(hub.condition(Ready).starts_with("True Paused"));

    hub.change(|spec| *spec = json!({"size": {"class": "large"}}));
    hub.settle().await.unwrap();
    let active = hub.control_plane().unwrap()["spec"].clone();
    assert_eq!((&active["reconciliation"], &active["sizeClass"]), (&json!("Active"), &json!("large")));
    assert!(hub.kubeconfig().is_some());
    assert!(hub.condition(Paused).starts_with("False"));
}

#[tokio::test]
async fn a_cluster_that_is_paused_before_anybody_looked_at_it_makes_nothing() {
    let mut hub = Hub::with_cluster().await;
    hub.change(|spec| *spec = json!({"reconciliation": "Paused", "profile": "gold"}));
    hub.settle().await.unwrap();
    assert!(hub.control_plane().is_none() && hub.kubeconfig().is_none());
    assert_eq!(hub.condition(Accepted), "none", "nobody has looked");
}

#[tokio::test]
async fn what_belongs_to_somebody_else_is_not_written_over() {
    // A namespace that nobody labelled, and one of another tenant.
    for labels in [json!({}), json!({"skep.dev/tenant": "other-abcd2345"})] {
        let mut hub = Hub::with_cluster().await;
        let tenant = hub.tenant();
        let namespace =
            json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant, "labels": labels}});
        hub.fake.plant(namespace);
        let error = hub.settle().await.unwrap_err().to_string();
        assert!(error.contains("SKEP-4013"), "{error}");
        assert_eq!(hub.condition(Progressing), format!("True ForeignObject: {error}"));
        assert_eq!(hub.condition(Ready), format!("False ForeignObject: {error}"));
        assert!(hub.control_plane().is_none());
        delete(&hub).await;
        hub.settle().await.unwrap();
        assert!(hub.cluster().is_none());
        let left = hub.fake.objects("namespaces");
        assert!(left.iter().any(|n| n["metadata"]["name"] == tenant), "not ours to delete");
    }

    let mut hub = Hub::with_cluster().await;
    let theirs = json!({"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "data": {"value": "bWluZQ=="},
        "metadata": {"namespace": "default", "name": "demo-kubeconfig"}});
    hub.fake.plant(theirs);
    let error = hub.settle().await.unwrap_err().to_string();
    assert!(error.contains("Secret default/demo-kubeconfig") && error.contains("SKEP-4013"), "{error}");
    assert_eq!(hub.kubeconfig().unwrap()["data"]["value"], "bWluZQ==");
    assert_eq!(hub.cluster().unwrap().status.unwrap().observed_generation, None);
    delete_secret(&hub).await;
    hub.settle().await.unwrap();
    assert!(hub.condition(Ready).starts_with("True Serving"));
    assert_eq!(hub.kubeconfig().unwrap()["data"]["value"], "a3ViZQ==");
}

#[tokio::test]
async fn what_the_namespace_enforces_is_put_back() {
    let mut hub = running().await;
    let tenant = hub.tenant();
    let enforce = "pod-security.kubernetes.io/enforce";
    hub.fake.edit("namespaces", "", &tenant, |namespace| {
        namespace["metadata"]["labels"][enforce] = json!("privileged");
    });
    hub.settle().await.unwrap();
    let namespaces = hub.fake.objects("namespaces");
    let namespace = namespaces.iter().find(|n| n["metadata"]["name"] == tenant.as_str()).unwrap();
    assert_eq!(namespace["metadata"]["labels"][enforce], "restricted");
}

#[tokio::test]
async fn a_deletion_says_what_it_waits_for_and_leaves_nothing() {
    let mut hub = running().await;
    delete(&hub).await;
    let reconciler = Hub::reconciler(hub.fake.client());
    hub.pass(&reconciler).await.unwrap();
    assert!(hub.kubeconfig().is_none(), "nobody needs it any more");
    hub.pass(&reconciler).await.unwrap();
    let said = hub.condition(Ready);
    assert!(said.starts_with("False Deleting: the control plane and its data are being removed: "), "{said}");
    assert_eq!(hub.cluster().unwrap().status.unwrap().phase, Some(Phase::Deleting));
    hub.settle().await.unwrap();
    assert!(hub.cluster().is_none() && hub.control_plane().is_none());
}

#[tokio::test]
async fn a_cluster_is_gone_when_its_machines_are() {
    let mut hub = running().await;
    hub.fake.plant(json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "Machine",
        "metadata": {"name": "m", "namespace": "default", "labels": {"skep.dev/cluster": "demo"}},
        "spec": {"cluster": "demo", "zone": "a", "template": {"machineClass": "local-small"}},
    }));
    delete(&hub).await;
    hub.settle().await.unwrap();
    let said = hub.condition(Ready);
    assert!(said.contains("1 of its machines are being removed"), "{said}");
    let machines: Api<Machine> = Api::namespaced(hub.fake.client(), "default");
    machines.delete("m", &DeleteParams::default()).await.unwrap();
    hub.settle().await.unwrap();
    assert!(hub.cluster().is_none());
}

/// Somebody else's finalizer keeps it, and we have only seen it as it was before: nothing may be made that nobody
/// would remove.
#[tokio::test]
async fn a_cluster_that_is_deleted_while_it_is_taken_up_makes_nothing() {
    let mut hub = Hub::with_cluster().await;
    let seen = hub.cluster().unwrap();
    let clusters: Api<Cluster> = Api::namespaced(hub.fake.client(), "default");
    let finalizers = |list: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": list}}));
    clusters.patch("demo", &PatchParams::default(), &finalizers(&["example.org/backup"])).await.unwrap();
    delete(&hub).await;
    let reconciler = Hub::reconciler(hub.fake.client());
    reconciler.reconcile(Arc::new(seen)).await.unwrap();
    assert!(hub.control_plane().is_none());
    clusters.patch("demo", &PatchParams::default(), &finalizers(&[])).await.unwrap();
    hub.settle().await.unwrap();
    assert!(hub.cluster().is_none());
    let tenants = hub
        .fake
        .objects("namespaces")
        .into_iter()
        .filter(|n| !n["metadata"]["labels"]["skep.dev/tenant"].is_null());
    assert_eq!(tenants.count(), 0);
}
