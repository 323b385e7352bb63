//! Apply, ensure, status, delete and sweep, on the fake and on a real API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Namespace, Secret},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta, Time},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
};
use serde_json::{Value, json};
use skep_kubeops::{Applier, Deleted, Key};
use skep_testkit::{ApiServer, Backend, FakeApiServer, FaultLayer};

fn object<K: serde::de::DeserializeOwned>(value: Value) -> K {
    serde_json::from_value(value).unwrap()
}

fn config(namespace: &str, name: &str, data: Value) -> ConfigMap {
    object(
        json!({"metadata": {"name": name, "namespace": namespace, "labels": {"by": "test"}}, "data": data}),
    )
}

/// The same on both servers; each gets a namespace of its own.
macro_rules! on_both {
    ($($(#[$meta:meta])* $name:ident)+) => {
        mod on_the_fake {
            $($(#[$meta])* #[tokio::test]
            async fn $name() {
                super::$name(skep_testkit::FakeApiServer::new().client(), "default".into()).await;
            })+
        }
        mod on_a_real_server {
            $($(#[$meta])* #[tokio::test]
            async fn $name() {
                let server = skep_testkit::ApiServer::shared().await.unwrap();
                let client = server.client().await.unwrap();
                let namespace = server.namespace(&client, "apply").await.unwrap();
                super::$name(client, namespace).await;
            })+
        }
    };
}

on_both! {
    what_a_manifest_no_longer_says_disappears
    the_status_is_written_only_when_more_than_a_time_changes
    a_status_for_an_object_of_another_uid_is_not_written
    a_status_that_reaches_the_successor_of_a_custom_resource_is_put_right
    deleting_tolerates_absence_and_spares_successors
    the_sweep_takes_what_is_owned_and_not_kept
}

async fn what_a_manifest_no_longer_says_disappears(client: Client, ns: String) {
    let applier = Applier::new(client.clone(), "test-manager");
    let first = applier.apply(&config(&ns, "a", json!({"k": "v", "l": "w"}))).await.unwrap();
    let again = applier.apply(&config(&ns, "a", json!({"k": "v", "l": "w"}))).await.unwrap();
    assert_eq!(
        first.metadata.resource_version, again.metadata.resource_version,
        "nothing to do, nothing written"
    );
    let less = applier.apply(&config(&ns, "a", json!({"k": "v"}))).await.unwrap();
    assert_eq!(less.data.unwrap().into_iter().collect::<Vec<_>>(), [("k".to_owned(), "v".to_owned())]);
    // An object as it was read can be applied as well: what only the server says is left out.
    let read = Api::<ConfigMap>::namespaced(client, &ns).get("a").await.unwrap();
    applier.apply(&read).await.unwrap();
}

fn condition(status: &str, at: i64) -> Condition {
    Condition {
        type_: "Ready".into(),
        status: status.into(),
        reason: "R".into(),
        message: "m".into(),
        last_transition_time: Time(jiff::Timestamp::from_second(at).unwrap()),
        observed_generation: None,
    }
}

fn status(conditions: Vec<Condition>) -> PodDisruptionBudgetStatus {
    PodDisruptionBudgetStatus { conditions: Some(conditions), ..PodDisruptionBudgetStatus::default() }
}

async fn budget(client: &Client, ns: &str) -> PodDisruptionBudget {
    let budget = object(json!({"metadata": {"name": "a"}, "spec": {"maxUnavailable": 1}}));
    Api::namespaced(client.clone(), ns).create(&PostParams::default(), &budget).await.unwrap()
}

async fn the_status_is_written_only_when_more_than_a_time_changes(client: Client, ns: String) {
    let applier = Applier::new(client.clone(), "test-manager");
    let object = budget(&client, &ns).await;
    let first = applier.status(&object, None, &status(vec![condition("True", 1000)])).await.unwrap().unwrap();
    let written = first.status.clone().unwrap();
    let later = status(vec![condition("True", 2000)]);
    assert!(applier.status(&first, first.status.as_ref(), &later).await.unwrap().is_none());
    let flipped = status(vec![condition("False", 3000)]);
    let second = applier.status(&first, Some(&written), &flipped).await.unwrap().unwrap();
    let conditions = second.status.unwrap().conditions.unwrap();
    assert_eq!(conditions[0].last_transition_time.0.as_second(), 3000);
    // A look at the object from before that write must not hide that the status has to go back.
    let back = status(vec![condition("True", 4000)]);
    let third = applier.status(&first, Some(&written), &back).await.unwrap();
    let third = third.expect("the cache is behind our own write").status.unwrap().conditions.unwrap();
    assert_eq!(third[0].status, "True");
}

async fn a_status_for_an_object_of_another_uid_is_not_written(client: Client, ns: String) {
    let applier = Applier::new(client.clone(), "test-manager");
    let old = budget(&client, &ns).await;
    let api: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), &ns);
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let new = budget(&client, &ns).await;
    assert_ne!(old.metadata.uid, new.metadata.uid);
    assert!(applier.status(&old, None, &status(vec![condition("True", 1)])).await.unwrap().is_none());
    assert!(api.get("a").await.unwrap().status.and_then(|status| status.conditions).is_none());
}

async fn a_status_that_reaches_the_successor_of_a_custom_resource_is_put_right(client: Client, ns: String) {
    let applier = Applier::new(client.clone(), "test-manager");
    let api: Api<skep_api::Cluster> = Api::namespaced(client.clone(), &ns);
    let cluster: skep_api::Cluster = object(json!({"metadata": {"name": "a"}, "spec": {}}));
    let old = api.create(&PostParams::default(), &cluster).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let new = api.create(&PostParams::default(), &cluster).await.unwrap();
    let late = json!({"observedGeneration": 7});
    assert!(applier.status(&old, None, &late).await.unwrap().is_none(), "not our object any more");
    // The successor's reconcile still sees it as it was created, without a status.
    let nothing = json!({});
    let written = applier.status(&new, Some(&nothing), &nothing).await.unwrap();
    assert!(written.is_some(), "what it sees is older than our own write");
    let status = serde_json::to_value(api.get("a").await.unwrap().status).unwrap();
    assert!(status["observedGeneration"].is_null(), "{status}");
}

async fn deleting_tolerates_absence_and_spares_successors(client: Client, ns: String) {
    let applier = Applier::new(client.clone(), "test-manager");
    let key = Key::namespaced(ns.as_str(), "a");
    assert_eq!(applier.delete_if_exists::<ConfigMap>(&key, None).await.unwrap(), Deleted::Gone);
    let mut held = config(&ns, "a", json!({}));
    held.metadata.finalizers = Some(vec!["skep.dev/test".into()]);
    let first = applier.apply(&held).await.unwrap();
    let uid = first.metadata.uid.as_deref();
    assert_eq!(
        applier
            .delete_if_exists::<ConfigMap>(&key, Some("11111111-2222-3333-4444-555555555555"))
            .await
            .unwrap(),
        Deleted::Gone
    );
    assert_eq!(applier.delete_if_exists::<ConfigMap>(&key, uid).await.unwrap(), Deleted::Going);
    assert_eq!(applier.delete_if_exists::<ConfigMap>(&key, uid).await.unwrap(), Deleted::Going);
    let api: Api<ConfigMap> = Api::namespaced(client, &ns);
    skep_kubeops::finalizer::remove(&api, &first, "skep.dev/test").await.unwrap();
    assert_eq!(applier.delete_if_exists::<ConfigMap>(&key, uid).await.unwrap(), Deleted::Gone);
}

async fn the_sweep_takes_what_is_owned_and_not_kept(client: Client, ns: String) {
    let applier = Applier::new(client.clone(), "test-manager");
    let owner = applier.apply(&config(&ns, "owner", json!({}))).await.unwrap();
    let other = applier.apply(&config(&ns, "other", json!({}))).await.unwrap();
    for (name, owner, label) in [
        ("kept", &owner, "skep"),
        ("old", &owner, "skep"),
        ("older", &owner, "skep"),
        ("foreign", &other, "skep"),
        ("unlabelled", &owner, "people"),
    ] {
        let reference = owner.controller_owner_ref(&()).unwrap();
        let child: Secret = object(json!({
            "metadata": {"name": name, "namespace": ns, "labels": {"by": label}, "ownerReferences": [reference]},
        }));
        applier.apply(&child).await.unwrap();
    }
    let uid = owner.metadata.uid.as_deref();
    let mut swept = applier.sweep::<Secret>(Some(&ns), "by=skep", uid, &["kept"]).await.unwrap();
    swept.sort();
    assert_eq!(swept, ["old", "older"]);
    assert!(applier.sweep::<Secret>(Some(&ns), "by=skep", uid, &["kept"]).await.unwrap().is_empty());
    let left = Api::<Secret>::namespaced(client, &ns).list(&Default::default()).await.unwrap();
    let mut left: Vec<_> = left.items.into_iter().filter_map(|secret| secret.metadata.name).collect();
    left.sort();
    assert_eq!(left, ["foreign", "kept", "unlabelled"]);
}

#[tokio::test]
async fn cluster_scoped_objects_are_applied_too() {
    let server = ApiServer::shared().await.unwrap();
    for client in [server.client().await.unwrap(), FakeApiServer::new().client()] {
        let applier = Applier::new(client, "test-manager");
        let metadata = ObjectMeta { name: Some("apply-cluster-scope".into()), ..ObjectMeta::default() };
        let applied = applier.apply(&Namespace { metadata, ..Namespace::default() }).await.unwrap();
        assert_eq!(applied.status.unwrap().phase.as_deref(), Some("Active"));
    }
}

#[tokio::test]
async fn a_conflict_is_tried_again_and_a_refusal_is_not() {
    use skep_kubeops::{Classify, ErrorClass};
    use skep_testkit::Fault;
    for (fault, calls) in [(Fault::Conflict, 2), (Fault::Unavailable, 1)] {
        let layer = FaultLayer::failing(1, fault);
        let client = Backend::Fake(FakeApiServer::new()).client(Some(&layer)).await.unwrap();
        let applied = Applier::new(client, "test-manager").apply(&config("default", "a", json!({}))).await;
        assert_eq!(applied.is_ok(), fault == Fault::Conflict);
        assert_eq!(layer.calls().len(), calls);
        if let Err(error) = applied {
            assert_eq!((error.class(), error.reason()), (ErrorClass::Transient, "ServerError"));
            let text = "cannot apply ConfigMap default/a: injected: the server is currently unable to handle the request";
            assert_eq!(error.to_string(), text);
        }
    }
}

#[tokio::test]
async fn a_manifest_without_a_name_never_leaves_the_process() {
    let layer = FaultLayer::counting();
    let client = Backend::Fake(FakeApiServer::new()).client(Some(&layer)).await.unwrap();
    let error = Applier::new(client, "test-manager").apply(&ConfigMap::default()).await.unwrap_err();
    assert_eq!(error.to_string(), "a ConfigMap without metadata.name was given to apply");
    assert!(layer.calls().is_empty());
}
