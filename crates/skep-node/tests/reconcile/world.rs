//! An installation in memory: a hub with a cluster that serves, its catalogue, and an infrastructure.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt as _;
use k8s_openapi::api::rbac::v1::ClusterRoleBinding;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::api::DeleteParams;
use kube::{Api, Client, ResourceExt as _};
use serde_json::{Value, json};
use skep_agent::config::PodNetwork;
use skep_api::condition::{self, ConditionType};
use skep_api::{Machine, NodePool, Provider, labels};
use skep_kubeops::watch::{self, Change, Select};
use skep_kubeops::{Cache, Metrics, Object, Observed, Reconciler as _, Recorder, Trigger};
use skep_node::{
    Caches, Clock, Config, Infrastructure, MachineReconciler, NodeCredentials, NodePoolReconciler,
};
use skep_testkit::scenario::settle;
use skep_testkit::{Backend, FakeApiServer, World as Installation};

use crate::kubelets;
use crate::provider::FakeProvider;
use crate::tenant::{self, Held};

pub const TENANT: &str = "demo-abcd2345";

/// An installation.
pub struct World {
    backend: Backend,
    pub fake: FakeApiServer,
    pub provider: FakeProvider,
    /// Pods that a disruption budget holds.
    pub held: Held,
    /// Local machines are not to be had, because of this.
    pub no_root: Option<String>,
    /// The world's clock stands still, so many seconds after its beginning.
    pub ahead: Arc<AtomicI64>,
    began: Timestamp,
    /// Replicas of the pool that scenarios make.
    replicas: i32,
}

/// Both reconcilers with nothing in memory, as after a start of the process.
pub struct Reconcilers {
    pub pools: NodePoolReconciler,
    pub machines: MachineReconciler,
    pub caches: Caches,
}

impl World {
    /// One whose pool will have so many machines.
    pub fn of(replicas: i32) -> Self {
        Self { replicas, ..Self::new() }
    }

    pub fn new() -> Self {
        // Made once: there are hundreds of worlds in a scenario.
        static KINDS: LazyLock<Vec<CustomResourceDefinition>> =
            LazyLock::new(|| skep_api::crds().into_iter().chain([csr_kind()]).collect());
        let fake = FakeApiServer::bare().with_crds(&KINDS);
        for file in [
            include_str!("../../../../deploy/catalogue/machine-classes.yaml"),
            include_str!("../../../../deploy/catalogue/releases.yaml"),
        ] {
            for object in serde_saphyr::from_multiple::<Value>(file).unwrap() {
                fake.plant(object);
            }
        }
        // Of the cluster, not of a pool: it is there from the first node on and stays when the last one goes.
        let kept = include_str!("../../../../deploy/components/endpoints.yaml");
        for mut object in serde_saphyr::from_multiple::<Value>(kept).unwrap() {
            object["metadata"]["labels"] = json!({labels::MANAGED_BY: labels::MANAGED_BY_SKEP});
            fake.plant(object);
        }
        let this = Self {
            backend: Backend::Fake(fake.clone()),
            fake,
            provider: FakeProvider::default(),
            held: Held::default(),
            no_root: None,
            ahead: Arc::default(),
            began: Timestamp::now(),
            replicas: 2,
        };
        this.plant_cluster("demo", TENANT);
        this
    }

    /// With one pool that nobody has looked at.
    pub async fn with_pool(replicas: i32) -> Self {
        let mut world = Self::of(replicas);
        let client = world.fake.client();
        world.set_up(&client).await.unwrap();
        world
    }

    /// With a pool whose nodes are ready.
    pub async fn running(replicas: i32) -> Self {
        let mut world = Self::with_pool(replicas).await;
        world.settle().await.unwrap();
        assert_eq!(world.phases().len(), usize::try_from(replicas).unwrap());
        assert!(world.phases().values().all(|phase| phase == "Ready"), "{:?}", world.phases());
        world
    }

    /// A cluster that serves.
    pub fn plant_cluster(&self, name: &str, tenant: &str) {
        let endpoint = json!({"server": "https://127.0.0.1:6443", "host": format!("{tenant}.skep.internal")});
        let mut plane = skep_testkit::objects::control_plane("v1.36.3", |_| {});
        plane.metadata.name = Some(tenant.into());
        plane.metadata.namespace = Some(tenant.into());
        let mut plane = serde_json::to_value(plane).unwrap();
        (plane["spec"]["tenant"], plane["spec"]["endpoint"]) = (json!(tenant), endpoint.clone());
        plane["spec"]["cluster"] = json!({"namespace": "default", "name": name, "uid": "c-uid"});
        self.fake.plant(plane);
        self.fake.plant(json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "Cluster", "metadata": {"namespace": "default", "name": name},
            "spec": {"reconciliation": "Active", "components": {"dns": "Off", "metrics": "Off"}},
            "status": {"tenant": tenant, "version": "v1.36.3", "endpoint": endpoint, "conditions": [{"type": "Ready",
                "status": "True", "reason": "Serving", "message": "it serves",
                "lastTransitionTime": "2026-01-01T00:00:00Z"}]},
        }));
        self.fake.plant(kubeconfig(name, "1"));
    }

    pub fn config(&self, client: Client) -> Config {
        let infrastructure = Infrastructure {
            provider: Arc::new(self.provider.clone()),
            gateway: "https://198.19.1.1:6443".into(),
            pod_network: PodNetwork::HostGw,
            registry: None,
            resolver: false,
            credentials: NodeCredentials::Own,
        };
        let local = self.no_root.clone().map_or(Ok(infrastructure), Err);
        let held = self.held.clone();
        let tenant = client.clone();
        Config {
            connect: Arc::new(move |_| {
                let client = tenant::client(tenant.clone(), held.clone());
                Box::pin(async move { Ok(client) })
            }),
            clock: self.clock(),
            ..Config::new(
                client,
                "https://127.0.0.1:6443".to_owned(),
                HashMap::from([(Provider::Local, local)]),
                Metrics::default(),
                // Events are not what is compared: they go elsewhere.
                Recorder::new(FakeApiServer::bare().client(), "test", "test"),
            )
        }
    }

    fn clock(&self) -> Clock {
        let (began, ahead) = (self.began, self.ahead.clone());
        Arc::new(move || began + SignedDuration::from_secs(ahead.load(Ordering::SeqCst)))
    }

    /// Lets time pass.
    pub fn wait(&self, seconds: i64) {
        self.ahead.fetch_add(seconds, Ordering::SeqCst);
    }

    pub fn reconcilers(&self, client: Client) -> Reconcilers {
        let config = self.config(client);
        let caches = Caches::default();
        let machines =
            MachineReconciler::new(config.clone(), caches.clone(), Observed::default(), Trigger::new());
        Reconcilers { pools: NodePoolReconciler::new(config, caches.clone()), machines, caches }
    }

    /// Brings what the reconcilers read up to date.
    pub async fn look(&self, reconcilers: &Reconcilers) {
        let (client, caches) = (self.fake.client(), &reconcilers.caches);
        fill(&client, &caches.clusters).await;
        fill(&client, &caches.control_planes).await;
        fill(&client, &caches.classes).await;
        fill(&client, &caches.releases).await;
        fill(&client, &caches.machines).await;
        fill(&client, &caches.pool_machines).await;
        fill(&client, &caches.machine_pools).await;
        // The watches of the tenant tell their changes now: the clock is paused, so this ends when nobody has more to do.
        tokio::time::sleep(Duration::from_millis(500)).await;
    }

    /// One pass over everything as it is now. All objects get theirs; the first failure is given.
    pub async fn pass(&self, reconcilers: &Reconcilers) -> Result<()> {
        let mut done = Ok(());
        self.look(reconcilers).await;
        for pool in Api::<NodePool>::all(self.fake.client()).list(&Default::default()).await? {
            let result = reconcilers.pools.reconcile(Arc::new(pool)).await;
            done = done.and(result.map(drop).map_err(anyhow::Error::from));
        }
        // What the pools made, the machines' controller sees at once here.
        fill(&self.fake.client(), &reconcilers.caches.machines).await;
        done.and(self.pass_machines(reconcilers).await)
    }

    /// One pass over the machines as they are now.
    pub async fn pass_machines(&self, reconcilers: &Reconcilers) -> Result<()> {
        let mut done = Ok(());
        for machine in Api::<Machine>::all(self.fake.client()).list(&Default::default()).await? {
            let result = reconcilers.machines.reconcile(Arc::new(machine)).await;
            done = done.and(result.map(drop).map_err(anyhow::Error::from));
        }
        done
    }

    /// Passes of both controllers, and of the kubelets, until nothing changes any more.
    pub async fn settle(&mut self) -> Result<()> {
        let client = self.fake.client();
        self.converge(client).await
    }

    /// One pass by a process that goes on, and a step of the kubelets.
    pub async fn beat(&self, reconcilers: &Reconcilers) {
        self.pass(reconcilers).await.unwrap();
        kubelets::step(&self.fake, &self.fake.client(), &self.provider).await;
    }

    /// A few of them: whatever is to be done now is done.
    pub async fn beats(&self, reconcilers: &Reconcilers) {
        for _ in 0..6 {
            self.beat(reconcilers).await;
        }
    }

    /// Changes what a node says about being ready.
    pub fn says_ready(&self, name: &str, status: &str) {
        self.change_node(name, |node| node["status"]["conditions"][0]["status"] = json!(status));
    }

    /// One pass by a new process, and a step of the kubelets.
    pub async fn step(&self) -> Result<()> {
        let client = self.fake.client();
        let done = self.pass(&self.reconcilers(client.clone())).await;
        kubelets::step(&self.fake, &client, &self.provider).await;
        done
    }

    /// Changes a spec, as people do.
    pub fn change(&self, resource: &str, name: &str, change: impl FnOnce(&mut Value)) {
        let known = self.fake.edit(resource, "default", name, |object| {
            change(&mut object["spec"]);
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        });
        assert!(known, "{name}");
    }

    pub fn change_pool(&self, change: impl FnOnce(&mut Value)) {
        self.change("nodepools.skep.dev", "workers", change);
    }

    /// Changes a node behind everybody's back.
    pub fn change_node(&self, name: &str, change: impl FnOnce(&mut Value)) {
        assert!(self.fake.edit("nodes", "", name, change), "{name}");
    }

    pub fn pool(&self) -> Value {
        self.fake.objects("nodepools.skep.dev").into_iter().next().unwrap()
    }

    pub fn machines(&self) -> Vec<Value> {
        self.fake.objects("machines.skep.dev")
    }

    /// The only machine.
    pub fn machine(&self) -> Value {
        let machines = self.machines();
        assert_eq!(machines.len(), 1);
        machines.into_iter().next().unwrap()
    }

    pub fn name(&self) -> String {
        self.machine()["metadata"]["name"].as_str().unwrap().to_owned()
    }

    /// Phases by name.
    pub fn phases(&self) -> HashMap<String, String> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        self.machines().iter().map(|m| (text(&m["metadata"]["name"]), text(&m["status"]["phase"]))).collect()
    }

    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.phases().into_keys().collect();
        names.sort();
        names
    }

    /// A condition of an object as `status reason: message`.
    pub fn condition(object: &Value, type_: ConditionType) -> String {
        let conditions: Vec<k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition> =
            serde_json::from_value(object["status"]["conditions"].clone()).unwrap_or_default();
        match condition::get(&conditions, type_) {
            Some(c) => format!("{} {}: {}", c.status, c.reason, c.message),
            None => "none".to_owned(),
        }
    }

    pub async fn delete_pool(&self) {
        let pools: Api<NodePool> = Api::namespaced(self.fake.client(), "default");
        pools.delete("workers", &DeleteParams::default()).await.unwrap();
    }

    pub async fn delete_machine(&self, name: &str) {
        let machines: Api<Machine> = Api::namespaced(self.fake.client(), "default");
        machines.delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub fn pods(&self) -> Vec<String> {
        let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap().to_owned();
        self.fake.objects("pods").iter().map(name).collect()
    }
}

/// The Secret with a kubeconfig; the fake client needs nothing of it but that it can be read.
pub fn kubeconfig(cluster: &str, key: &str) -> Value {
    use base64::Engine as _;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let text = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "x",
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443",
            "certificate-authority-data": encode("CA of the tenant")}}],
        "users": [{"name": "u", "user": {"client-certificate-data": encode("C"), "client-key-data": encode(key)}}],
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
    });
    json!({
        "apiVersion": "v1", "kind": "Secret", "type": "cluster.x-k8s.io/secret",
        "metadata": {"namespace": "default", "name": format!("{cluster}-kubeconfig"), "labels": {
            "app.kubernetes.io/managed-by": "skep", "cluster.x-k8s.io/cluster-name": cluster, "skep.dev/cluster": cluster}},
        "data": {"value": encode(&text.to_string())},
    })
}

/// Certificate requests, which the fake does not have by itself.
fn csr_kind() -> CustomResourceDefinition {
    let free = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    serde_json::from_value(json!({
        "metadata": {"name": "certificatesigningrequests.certificates.k8s.io"},
        "spec": {
            "group": "certificates.k8s.io", "scope": "Cluster",
            "names": {"plural": "certificatesigningrequests", "kind": "CertificateSigningRequest"},
            "versions": [{"name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": free, "status": free}}}}],
        },
    }))
    .unwrap()
}

/// Fills a cache as a controller's watch does at its start.
async fn fill<K: Object>(client: &Client, cache: &Cache<K>) {
    let mut changes = Box::pin(watch::changes(client.clone(), Select::all(), cache.clone()));
    while !matches!(changes.next().await, Some(Change::Synced)) {}
}

impl Installation for World {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn set_up(&mut self, client: &Client) -> Result<()> {
        let pools: Api<NodePool> = Api::namespaced(client.clone(), "default");
        let pool = serde_json::from_value(json!({"metadata": {"name": "workers"}, "spec": {
            "cluster": "demo", "replicas": self.replicas, "template": {"machineClass": "local-small"}}}))?;
        pools.create(&Default::default(), &pool).await?;
        Ok(())
    }

    async fn converge(&mut self, client: Client) -> Result<()> {
        let reconcilers = self.reconcilers(client);
        let (this, clean) = (&*self, self.fake.client());
        settle(&this.backend, 60, || async {
            this.pass(&reconcilers).await?;
            kubelets::step(&this.fake, &clean, &this.provider).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            Ok(())
        })
        .await
    }

    async fn delete(&mut self, client: &Client) -> Result<()> {
        let pools: Api<NodePool> = Api::namespaced(client.clone(), "default");
        pools.delete("workers", &Default::default()).await?;
        // What a tenant cluster has from its first machine on stays as long as it does: here it goes.
        let bindings: Api<ClusterRoleBinding> = Api::all(client.clone());
        for binding in bindings.list(&Default::default()).await? {
            bindings.delete(&binding.name_any(), &Default::default()).await?;
        }
        Ok(())
    }

    /// Machines have random names: here they are called after their zones, of which each has one.
    fn normalise(&self, object: &mut Value) {
        let mut text = object.to_string();
        for machine in self.machines() {
            let (name, zone) = (&machine["metadata"]["name"], &machine["spec"]["zone"]);
            text = text.replace(name.as_str().unwrap(), &format!("machine-{}", zone.as_str().unwrap()));
        }
        *object = serde_json::from_str(&text).unwrap();
    }

    async fn leftovers(&mut self) -> Vec<String> {
        let mut left: Vec<String> = self.provider.machines().into_keys().collect();
        for resource in
            ["machines.skep.dev", "nodes", "pods", "certificatesigningrequests.certificates.k8s.io"]
        {
            left.extend(self.fake.objects(resource).iter().map(|object| object["metadata"].to_string()));
        }
        left.extend(kubelets::tokens(&self.fake).iter().map(|token| token["metadata"].to_string()));
        left
    }
}
