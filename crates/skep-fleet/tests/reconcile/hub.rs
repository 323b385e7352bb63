//! A hub in memory, which is its own cell: the catalogue, the controller, and the cell's part of a control plane.

use std::sync::Arc;

use anyhow::Result;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use skep_api::condition::{self, ConditionType};
use skep_api::{Cluster, ControlPlane, TenantId};
use skep_fleet::cluster::{ClusterReconciler, Config};
use skep_kubeops::finalizer;
use skep_kubeops::watch::{self, Change, Select};
use skep_kubeops::{Cache, Metrics, Object, Observed, Reconciler as _, Recorder};
use skep_testkit::{Backend, FakeApiServer, World, scenario::settle};

const CELL_FINALIZER: &str = "skep.dev/control-plane";

pub struct Hub {
    backend: Backend,
    pub fake: FakeApiServer,
}

impl Hub {
    pub fn new() -> Self {
        let fake = FakeApiServer::new().with_reflex("controlplanes.skep.dev", |object| {
            (!object["metadata"]["finalizers"].is_null()).then(|| {
                let condition = json!({"type": "Ready", "status": "True", "reason": "Serving", "message": "it serves",
                    "lastTransitionTime": "2026-01-01T00:00:00Z"});
                json!({"observedGeneration": object["metadata"]["generation"], "conditions": [condition],
                    "version": object["spec"]["version"], "kubeconfigSecret": "admin-kubeconfig"})
            })
        });
        for file in [
            include_str!("../../../../deploy/catalogue/size-classes.yaml"),
            include_str!("../../../../deploy/catalogue/profiles.yaml"),
            include_str!("../../../../deploy/catalogue/releases.yaml"),
            include_str!("../../../../deploy/catalogue/datastores.yaml"),
        ] {
            for object in serde_saphyr::from_multiple::<Value>(file).unwrap() {
                fake.plant(object);
            }
        }
        Self { backend: Backend::Fake(fake.clone()), fake }
    }

    /// A hub with the cluster `demo` in it, which nobody has looked at.
    pub async fn with_cluster() -> Self {
        let mut hub = Self::new();
        let client = hub.fake.client();
        hub.set_up(&client).await.unwrap();
        hub
    }

    pub fn config(client: Client) -> Config {
        Config {
            client,
            domain: "skep.internal".to_owned(),
            gateway: "https://127.0.0.1:6443".to_owned(),
            metrics: Metrics::default(),
            // Events are not what is compared: they go elsewhere.
            recorder: Recorder::new(FakeApiServer::bare().client(), "test", "test"),
        }
    }

    /// A reconciler with nothing in memory, as after a start of the process.
    pub fn reconciler(client: Client) -> ClusterReconciler {
        ClusterReconciler::new(Self::config(client), Observed::default())
    }

    /// One pass over the clusters as they are now.
    pub async fn pass(&self, reconciler: &ClusterReconciler) -> Result<()> {
        let (client, caches) = (self.fake.client(), reconciler.caches());
        fill(&client, &caches.control_planes).await;
        fill(&client, &caches.size_classes).await;
        fill(&client, &caches.profiles).await;
        fill(&client, &caches.releases).await;
        fill(&client, &caches.datastores).await;
        for cluster in Api::<Cluster>::all(client).list(&Default::default()).await? {
            reconciler.reconcile(Arc::new(cluster)).await?;
        }
        Ok(())
    }

    /// Passes of the hub and of its cell until nothing changes any more.
    pub async fn settle(&mut self) -> Result<()> {
        let client = self.fake.client();
        self.converge(client).await
    }

    /// Changes the spec, as people do.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let known = self.fake.edit("clusters.skep.dev", "default", "demo", |object| {
            change(&mut object["spec"]);
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        });
        assert!(known);
    }

    pub fn cluster(&self) -> Option<Cluster> {
        let object = self.fake.objects("clusters.skep.dev").into_iter().next()?;
        Some(serde_json::from_value(object).unwrap())
    }

    pub fn tenant(&self) -> String {
        let uid = self.cluster().unwrap().metadata.uid.unwrap();
        TenantId::of_cluster("demo", &uid).to_string()
    }

    /// A condition of the cluster as `status reason: message`.
    pub fn condition(&self, type_: ConditionType) -> String {
        let status = self.cluster().unwrap().status.unwrap_or_default();
        match condition::get(&status.conditions, type_) {
            Some(c) => format!("{} {}: {}", c.status, c.reason, c.message),
            None => "none".to_owned(),
        }
    }

    pub fn control_plane(&self) -> Option<Value> {
        self.fake.objects("controlplanes.skep.dev").into_iter().next()
    }

    /// The Secret beside the cluster.
    pub fn kubeconfig(&self) -> Option<Value> {
        let beside = |secret: &Value| secret["metadata"]["namespace"] == "default";
        self.fake.objects("secrets").into_iter().find(beside)
    }

    /// The part of the cell: takes control planes on, makes their kubeconfig, and lets go of deleted ones.
    pub async fn cell(&self, clean: &Client) -> Result<()> {
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

/// Takes the kubeconfig away.
pub async fn delete_secret(hub: &Hub) {
    let secrets: Api<Secret> = Api::namespaced(hub.fake.client(), "default");
    secrets.delete("demo-kubeconfig", &DeleteParams::default()).await.unwrap();
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
        let reconciler = Self::reconciler(client);
        let this = &*self;
        settle(&this.backend, 20, || async {
            this.pass(&reconciler).await?;
            this.cell(&this.fake.client()).await
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
