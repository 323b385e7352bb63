//! Finalizers are added and removed without losing anybody else's.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use skep_kubeops::finalizer;
use skep_testkit::{Backend, FakeApiServer, Fault, FaultLayer};

const OURS: &str = "skep.dev/ours";
const THEIRS: &str = "skep.dev/theirs";

async fn start() -> (FakeApiServer, Api<ConfigMap>, ConfigMap) {
    let fake = FakeApiServer::new();
    let api: Api<ConfigMap> = Api::namespaced(fake.client(), "default");
    let metadata = ObjectMeta { name: Some("a".into()), ..ObjectMeta::default() };
    let object = ConfigMap { metadata, ..ConfigMap::default() };
    let object = api.create(&PostParams::default(), &object).await.unwrap();
    (fake, api, object)
}

async fn set(api: &Api<ConfigMap>, finalizers: &[&str]) -> ConfigMap {
    let patch = Patch::Merge(json!({"metadata": {"finalizers": finalizers}}));
    api.patch("a", &PatchParams::default(), &patch).await.unwrap()
}

fn names(object: &ConfigMap) -> Vec<&str> {
    object.metadata.finalizers.iter().flatten().map(String::as_str).collect()
}

#[tokio::test]
async fn it_is_added_once() {
    let (_fake, api, object) = start().await;
    let changed = finalizer::ensure(&api, &object, OURS).await.unwrap().unwrap();
    assert_eq!(names(&changed), [OURS]);
    assert!(finalizer::has(&changed, OURS));
    assert!(finalizer::ensure(&api, &changed, OURS).await.unwrap().is_none());
}

#[tokio::test]
async fn a_stale_view_loses_nobodys_finalizer() {
    let (_fake, api, stale) = start().await;
    set(&api, &[THEIRS]).await;
    let changed = finalizer::ensure(&api, &stale, OURS).await.unwrap().unwrap();
    assert_eq!(names(&changed), [THEIRS, OURS]);
    assert!(finalizer::hold(&api, &stale, OURS).await.unwrap(), "held since");

    let stale = changed;
    set(&api, &[OURS]).await;
    finalizer::remove(&api, &stale, OURS).await.unwrap();
    assert!(
        names(&api.get("a").await.unwrap()).is_empty(),
        "theirs had gone meanwhile and did not come back"
    );
}

#[tokio::test]
async fn an_object_that_is_being_deleted_gets_no_new_finalizer_and_goes_when_freed() {
    let (_fake, api, stale) = start().await;
    let held = set(&api, &[THEIRS]).await;
    api.delete("a", &DeleteParams::default()).await.unwrap();
    assert!(finalizer::ensure(&api, &stale, OURS).await.unwrap().is_none(), "seen after the conflict");
    assert!(!finalizer::hold(&api, &stale, OURS).await.unwrap(), "nothing may be made for it");
    assert!(finalizer::hold(&api, &held, THEIRS).await.unwrap());
    finalizer::remove(&api, &held, THEIRS).await.unwrap();
    assert!(api.get_opt("a").await.unwrap().is_none());
    finalizer::remove(&api, &held, THEIRS).await.expect("an object that is gone needs no removal");
    let gone = finalizer::ensure(&api, &stale, OURS).await.unwrap_err();
    assert!(finalizer::is_gone(&gone));
    assert!(!finalizer::hold(&api, &stale, OURS).await.unwrap());
}

#[tokio::test]
async fn a_successor_of_the_same_name_is_left_alone() {
    let (_fake, api, old) = start().await;
    let old = finalizer::ensure(&api, &old, OURS).await.unwrap().unwrap();
    finalizer::remove(&api, &old, OURS).await.unwrap();
    api.delete("a", &DeleteParams::default()).await.unwrap();
    let metadata =
        ObjectMeta { name: Some("a".into()), finalizers: Some(vec![OURS.into()]), ..ObjectMeta::default() };
    api.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await.unwrap();
    finalizer::remove(&api, &old, OURS).await.unwrap();
    assert_eq!(names(&api.get("a").await.unwrap()), [OURS]);
}

#[tokio::test]
async fn every_fault_leaves_it_added_or_not_and_a_second_try_completes_it() {
    for call in 1..=2 {
        for fault in Fault::ALL {
            let (fake, api, object) = start().await;
            let layer = FaultLayer::failing(call, fault);
            let client = Backend::Fake(fake).client(Some(&layer)).await.unwrap();
            let faulty: Api<ConfigMap> = Api::namespaced(client, "default");
            tokio::select! {
                _ = finalizer::ensure(&faulty, &object, OURS) => {}
                () = layer.crashed() => {}
            }
            finalizer::ensure(&api, &object, OURS).await.unwrap();
            assert_eq!(names(&api.get("a").await.unwrap()), [OURS], "{fault:?} at call {call}");
        }
    }
}
