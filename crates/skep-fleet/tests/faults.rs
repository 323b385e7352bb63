//! The life of a `Cluster` with every API call failing once, in every way: it ends in the same objects, and a deleted
//! one leaves nothing.

// Helpers of tests may fail loudly; the lint only exempts the test functions themselves.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt as _;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use skep_api::{Cluster, ControlPlane};
use skep_fleet::cluster::{ClusterReconciler, Config};
use skep_kubeops::finalizer;
use skep_kubeops::watch::{self, Change, Select};
use skep_kubeops::{Cache, Metrics, Object, Observed, Reconciler as _, Recorder};
use skep_testkit::{Backend, FakeApiServer, Scenario, World, scenario::settle};

const CELL_FINALIZER: &str = "skep.dev/control-plane";

struct Hub {
    backend: Backend,
    fake: FakeApiServer,
}

impl Hub {
    fn new() -> Self {
        let fake = FakeApiServer::new().with_reflex("controlplanes.skep.dev", |object| {
            (!object["metadata"]["finalizers"].is_null()).then(|| {
                let condition = json!({"type": "Ready", "status": "True", "reason": "Serving", "message": "it serves",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"});
                json!({"observedGeneration": object["metadata"]["generation"], "conditions": [condition],
                    "version": object["spec"]["version"], "kubeconfigSecret": "admin-kubeconfig"})
            })
        });
        for file in [
            include_str!("../../../deploy/catalogue/size-classes.yaml"),
            include_str!("../../../deploy/catalogue/profiles.yaml"),
            include_str!("../../../deploy/catalogue/releases.yaml"),
            include_str!("../../../deploy/catalogue/datastores.yaml"),
        ] {
            for object in serde_saphyr::from_multiple::<Value>(file).unwrap() {
                fake.plant(object);
            }
        }
        Self { backend: Backend::Fake(fake.clone()), fake }
    }

    /// The part of the cell: takes control planes on, makes their kubeconfig, and lets go of deleted ones.
    async fn cell(&self, clean: &Client) -> Result<()> {
        let all: Api<ControlPlane> = Api::all(clean.clone());
        for object in all.list(&Default::default()).await? {
            let (name, deleting) = (object.name_any(), object.metadata.deletion_timestamp.is_some());
            let api: Api<ControlPlane> = Api::namespaced(clean.clone(), &name);
            match deleting {
                true => finalizer::remove(&api, &object, CELL_FINALIZER).await?,
                false => drop(finalizer::ensure(&api, &object, CELL_FINALIZER).await?),
            }
            let known =
                self.fake.objects("secrets").iter().any(|secret| secret["metadata"]["namespace"] == name);
            if !deleting && !known {
                self.fake.plant(json!({"apiVersion": "v1", "kind": "Secret", "data": {"value": "a3ViZQ=="},
                    "metadata": {"namespace": name, "name": "admin-kubeconfig"}}));
            }
        }
        Ok(())
    }
}

/// Fills a cache as a controller's watch does at its start.
async fn fill<K: Object>(client: &Client, cache: &Cache<K>) {
    let mut changes = Box::pin(watch::changes(client.clone(), Select::all(), cache.clone()));
    while !matches!(changes.next().await, Some(Change::Synced)) {}
}

impl World for Hub {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn set_up(&mut self, client: &Client) -> Result<()> {
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), "default");
        clusters.create(&Default::default(), &Cluster::new("demo", Default::default())).await?;
        Ok(())
    }

    async fn converge(&mut self, client: Client) -> Result<()> {
        let clean = self.fake.client();
        let config = Config {
            client: client.clone(),
            domain: "skep.internal".to_owned(),
            gateway: "https://127.0.0.1:6443".to_owned(),
            metrics: Metrics::default(),
            // Events are not what is compared: they go elsewhere.
            recorder: Recorder::new(FakeApiServer::bare().client(), "test", "test"),
        };
        let reconciler = ClusterReconciler::new(config, Observed::default());
        let this = &*self;
        settle(&this.backend, 20, || async {
            let caches = reconciler.caches();
            fill(&clean, &caches.control_planes).await;
            fill(&clean, &caches.size_classes).await;
            fill(&clean, &caches.profiles).await;
            fill(&clean, &caches.releases).await;
            fill(&clean, &caches.datastores).await;
            let clusters: Api<Cluster> = Api::all(clean.clone());
            for cluster in clusters.list(&Default::default()).await? {
                reconciler.reconcile(Arc::new(cluster)).await?;
            }
            this.cell(&clean).await
        })
        .await
    }

    async fn delete(&mut self, client: &Client) -> Result<()> {
        let clusters: Api<Cluster> = Api::namespaced(client.clone(), "default");
        clusters.delete("demo", &Default::default()).await?;
        Ok(())
    }

    async fn leftovers(&mut self) -> Vec<String> {
        let kinds = ["clusters.skep.dev", "controlplanes.skep.dev", "secrets"];
        kinds
            .iter()
            .flat_map(|kind| self.fake.objects(kind))
            .map(|object| object["metadata"].to_string())
            .collect()
    }
}

#[tokio::test]
async fn a_cluster_survives_every_fault_and_leaves_nothing() {
    let report = Scenario::new(|| async { Ok(Hub::new()) }).run().await.unwrap();
    assert!(report.creation.len() >= 5 && report.deletion.len() >= 4, "{report:?}");
    println!(
        "{} calls to create, {} to delete, {} runs with a fault",
        report.creation.len(),
        report.deletion.len(),
        report.runs
    );
}

#[tokio::test]
async fn a_running_cluster_keeps_running_when_its_spec_cannot_be_fulfilled() {
    let mut hub = Hub::new();
    let client = hub.fake.client();
    hub.set_up(&client).await.unwrap();
    hub.converge(client.clone()).await.unwrap();
    let before = hub.fake.objects("controlplanes.skep.dev").remove(0)["spec"].clone();

    hub.fake.edit("clusters.skep.dev", "default", "demo", |o| o["spec"]["profile"] = json!("gold"));
    hub.converge(client.clone()).await.unwrap();
    let cluster = hub.fake.objects("clusters.skep.dev").remove(0);
    assert_eq!(cluster["status"]["phase"], "Refused");
    let message = cluster["status"]["conditions"].as_array().unwrap().iter();
    let message = message.clone().find(|c| c["type"] == "Accepted").unwrap()["message"].as_str().unwrap();
    assert!(message.contains("gold") && message.contains("standard"), "{message}");
    assert_eq!(hub.fake.objects("controlplanes.skep.dev").remove(0)["spec"], before);

    hub.fake.edit("clusters.skep.dev", "default", "demo", |o| {
        o["spec"] = json!({"reconciliation": "Paused", "size": {"class": "large"}});
    });
    hub.converge(client).await.unwrap();
    let paused = hub.fake.objects("controlplanes.skep.dev").remove(0)["spec"].clone();
    assert_eq!((&paused["reconciliation"], &paused["sizeClass"]), (&json!("Paused"), &before["sizeClass"]));
}
