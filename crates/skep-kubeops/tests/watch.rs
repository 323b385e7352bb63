//! Watches survive what happens to watches, and report what was missed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{Api, Client, api::DeleteParams, core::PartialObjectMeta};
use serde_json::json;
use skep_kubeops::{
    Applier, Cache, Key, Object,
    watch::{Change, Select, changes},
};
use skep_testkit::{ApiServer, Backend, FakeApiServer, Fault, FaultLayer, PATIENCE};

fn config(name: &str, data: &str) -> ConfigMap {
    serde_json::from_value(json!({
        "metadata": {"name": name, "namespace": "default", "labels": {"watched": "yes"}}, "data": {"k": data},
    }))
    .unwrap()
}

async fn apply(client: &Client, name: &str, data: &str) {
    Applier::new(client.clone(), "test").apply(&config(name, data)).await.unwrap();
}

async fn delete(client: &Client, name: &str) {
    Api::<ConfigMap>::namespaced(client.clone(), "default")
        .delete(name, &DeleteParams::default())
        .await
        .unwrap();
}

/// The next change in words; interruptions are passed over.
async fn next<K: Object>(changes: &mut (impl Stream<Item = Change<K>> + Unpin)) -> String {
    loop {
        let change = tokio::time::timeout(PATIENCE, changes.next()).await;
        let change = change.expect("a change in time").expect("a watch has no end");
        return match change {
            Change::Applied(object) => format!("applied {}", Key::of(object.as_ref()).name),
            Change::Deleted(object) => format!("deleted {}", Key::of(object.as_ref()).name),
            Change::Undecodable(bad) => format!("undecodable {}", bad.key().name),
            Change::Synced => "synced".into(),
            Change::Interrupted(_) => continue,
        };
    }
}

/// The real server is one for all tests of this file: those that count what they see there take turns.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

#[tokio::test]
async fn changes_come_in_order_and_the_cache_is_ahead_of_them() {
    let _turn = TURN.lock().await;
    let server = ApiServer::shared().await.unwrap();
    for client in [FakeApiServer::new().client(), server.client().await.unwrap()] {
        let cache = Cache::<ConfigMap>::new();
        apply(&client, "before", "1").await;
        let select = Select::labels("watched=yes").namespace("default");
        let mut watch = changes(client.clone(), select, cache.clone());
        assert_eq!(next(&mut watch).await, "applied before");
        assert_eq!(next(&mut watch).await, "synced");
        assert!(cache.is_synced());
        apply(&client, "a", "1").await;
        assert_eq!(next(&mut watch).await, "applied a");
        let seen = cache.get(&Key::namespaced("default", "a")).unwrap();
        assert!(seen.metadata.managed_fields.is_none(), "managedFields never reach memory");
        apply(&client, "a", "2").await;
        assert_eq!(next(&mut watch).await, "applied a");
        delete(&client, "a").await;
        assert_eq!(next(&mut watch).await, "deleted a");
        assert!(cache.get(&Key::namespaced("default", "a")).is_none());
        delete(&client, "before").await;
    }
}

#[tokio::test]
async fn metadata_watches_carry_metadata_only() {
    let _turn = TURN.lock().await;
    let server = ApiServer::shared().await.unwrap();
    for client in [FakeApiServer::new().client(), server.client().await.unwrap()] {
        let name = "only-metadata";
        apply(&client, name, "secret value").await;
        let select = Select::named(name).namespace("default");
        let mut watch = changes::<PartialObjectMeta<ConfigMap>>(client.clone(), select, Cache::new());
        let Some(Change::Applied(object)) = watch.next().await else { panic!("no object") };
        assert_eq!(object.types.as_ref().unwrap().kind, "PartialObjectMetadata");
        delete(&client, name).await;
    }
}

#[tokio::test]
async fn after_a_compaction_missed_changes_and_deletions_are_reported() {
    let fake = FakeApiServer::bare();
    let client = fake.client();
    for name in ["stays", "changes", "goes"] {
        apply(&client, name, "1").await;
    }
    let cache = Cache::<ConfigMap>::new();
    let mut watch = changes(client.clone(), Select::labels("watched=yes"), cache.clone());
    for _ in 0..3 {
        assert!(next(&mut watch).await.starts_with("applied"));
    }
    assert_eq!(next(&mut watch).await, "synced");
    // Not polled meanwhile: the watch sees none of this.
    apply(&client, "changes", "2").await;
    delete(&client, "goes").await;
    apply(&client, "comes", "1").await;
    fake.compact();
    let mut seen = Vec::new();
    loop {
        match next(&mut watch).await.as_str() {
            "synced" => break,
            change => seen.push(change.to_owned()),
        }
    }
    seen.sort();
    assert_eq!(seen, ["applied changes", "applied comes", "deleted goes"], "and nothing about what stayed");
    assert_eq!(cache.len(), 3);
    apply(&client, "later", "1").await;
    assert_eq!(next(&mut watch).await, "applied later", "the watch goes on");
}

#[tokio::test]
async fn an_undecodable_object_is_an_event_and_not_the_end() {
    let fake = FakeApiServer::bare();
    let client = fake.client();
    let pod = |name: &str, containers| {
        json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "default"},
            "spec": {"containers": containers},
        })
    };
    fake.plant(pod("a-bad", json!("many")));
    fake.plant(pod("good", json!([])));
    let cache = Cache::<Pod>::new();
    let mut watch = changes(client, Select::all(), cache.clone());
    assert_eq!(next(&mut watch).await, "undecodable a-bad", "in a list");
    assert_eq!(next(&mut watch).await, "applied good");
    assert_eq!(next(&mut watch).await, "synced");
    fake.edit("pods", "default", "good", |pod| pod["spec"]["containers"] = json!(7));
    assert_eq!(next(&mut watch).await, "undecodable good", "in a watch");
    assert!(cache.is_empty(), "what cannot be read is not remembered as it was");
    fake.edit("pods", "default", "a-bad", |pod| pod["spec"]["containers"] = json!([]));
    assert_eq!(next(&mut watch).await, "applied a-bad", "corrected");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_refuses_is_asked_with_growing_pauses() {
    // The kind is not served: every list fails.
    let layer = FaultLayer::counting();
    let fake = FakeApiServer::bare();
    let client = Backend::Fake(fake.clone()).client(Some(&layer)).await.unwrap();
    let mut watch = changes::<skep_api::Cluster>(client, Select::all(), Cache::new());
    let failing = async {
        loop {
            assert!(matches!(watch.next().await, Some(Change::Interrupted(_))));
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(300), failing).await.is_err());
    let calls = layer.calls().len();
    // 0.1 s doubling to 30 s: about nine within the first minute, then two a minute.
    assert!((12..25).contains(&calls), "{calls} lists in five minutes");
    let fake = fake.with_crds(&skep_api::crds());
    assert_eq!(next(&mut watch).await, "synced", "it recovers by itself");
    drop(fake);
}

#[tokio::test]
async fn a_failed_first_list_is_repeated() {
    for fault in [Fault::Unavailable, Fault::TooManyRequests, Fault::TimeoutBefore] {
        let layer = FaultLayer::failing(1, fault);
        let client = Backend::Fake(FakeApiServer::bare()).client(Some(&layer)).await.unwrap();
        let mut watch = changes::<ConfigMap>(client, Select::all(), Cache::new());
        assert_eq!(next(&mut watch).await, "synced", "{fault:?}");
    }
}
