//! What the fake does with dependents and namespaces is what kube-controller-manager does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, ObjectMeta, Patch, PatchParams, PostParams},
};
use serde_json::json;
use skep_testkit::{ApiServer, FakeApiServer, PATIENCE};
use tokio::time::{Instant, sleep};

async fn make(
    api: &Api<ConfigMap>,
    name: &str,
    owners: &[&ConfigMap],
    finalizers: &[&str],
) -> Result<ConfigMap> {
    let reference = |owner: &&ConfigMap| {
        let mut reference = owner.owner_ref(&()).unwrap();
        reference.block_owner_deletion = Some(true);
        reference
    };
    let metadata = ObjectMeta {
        name: Some(name.into()),
        owner_references: Some(owners.iter().map(reference).collect()),
        finalizers: Some(finalizers.iter().map(|name| (*name).to_owned()).collect()),
        ..ObjectMeta::default()
    };
    Ok(api.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await?)
}

/// Names of what is there and not being deleted, and of what is (with a `-`).
async fn names(api: &Api<ConfigMap>) -> Result<Vec<String>> {
    let list = api.list(&Default::default()).await?;
    let name = |object: ConfigMap| {
        let mark = if object.metadata.deletion_timestamp.is_some() { "-" } else { "" };
        format!("{mark}{}", object.metadata.name.unwrap_or_default())
    };
    // Every namespace of a whole control plane has one of these.
    Ok(list.items.into_iter().map(name).filter(|name| !name.ends_with("kube-root-ca.crt")).collect())
}

async fn expect(api: &Api<ConfigMap>, wanted: &[&str]) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let found = names(api).await?;
        if found == wanted {
            return Ok(());
        }
        anyhow::ensure!(Instant::now() < deadline, "expected {wanted:?}, there is {found:?}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Grandparent, parents, children; deleted in each of the three ways.
async fn dependents(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    for (way, left) in [
        (DeleteParams::background(), &["b"][..]),
        (DeleteParams::foreground(), &["b"][..]),
        (DeleteParams::orphan(), &["b", "child", "grandchild", "shared"][..]),
    ] {
        let a = make(&api, "a", &[], &[]).await?;
        let b = make(&api, "b", &[], &[]).await?;
        let child = make(&api, "child", &[&a], &[]).await?;
        make(&api, "grandchild", &[&child], &[]).await?;
        make(&api, "shared", &[&a, &b], &[]).await?;
        api.delete("a", &way).await?;
        // With an owner left, `shared` stays in every case.
        let with_shared: Vec<&str> = if left.len() == 1 { vec!["b", "shared"] } else { left.to_vec() };
        expect(&api, &with_shared).await?;
        for name in names(&api).await? {
            api.delete(&name, &DeleteParams::background()).await.ok();
        }
        expect(&api, &[]).await?;
    }
    // A dependent that is held keeps a foreground owner waiting.
    let a = make(&api, "a", &[], &[]).await?;
    make(&api, "held", &[&a], &["skep.dev/hold"]).await?;
    api.delete("a", &DeleteParams::foreground()).await?;
    expect(&api, &["-a", "-held"]).await?;
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &free).await?;
    expect(&api, &[]).await
}

async fn namespaces(client: &Client, namespace: &str) -> Result<()> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let all: Api<Namespace> = Api::all(client.clone());
    make(&api, "plain", &[], &[]).await?;
    make(&api, "held", &[], &["skep.dev/hold"]).await?;
    all.delete(namespace, &DeleteParams::background()).await?;
    expect(&api, &["-held"]).await?;
    let refused = make(&api, "late", &[], &[]).await.unwrap_err().to_string();
    assert!(refused.contains("because it is being terminated"), "{refused}");
    let free = Patch::Merge(json!({"metadata": {"finalizers": null}}));
    api.patch("held", &PatchParams::default(), &free).await?;
    let deadline = Instant::now() + PATIENCE;
    while all.get_opt(namespace).await?.is_some() {
        anyhow::ensure!(Instant::now() < deadline, "namespace {namespace} stays");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

async fn both(client: &Client) -> Result<()> {
    for name in ["garbage-a", "garbage-b"] {
        let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
        let namespace = Namespace { metadata, ..Namespace::default() };
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await?;
    }
    dependents(client, "garbage-a").await?;
    namespaces(client, "garbage-b").await
}

#[tokio::test]
async fn on_the_fake() {
    both(&FakeApiServer::bare().client()).await.unwrap();
}

#[tokio::test]
async fn on_a_real_control_plane() {
    let server = ApiServer::shared_whole().await.unwrap();
    both(&server.client().await.unwrap()).await.unwrap();
}
