//! A cell in memory: an API server, a datastore, and whoever turns Deployments into pods.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, Result};
use k8s_openapi::jiff::Timestamp;
use kube::{Api, Client};
use serde_json::{Value, json};
use skep_api::condition::{self, ConditionType};
use skep_api::control_plane::DatastoreRef;
use skep_api::{ControlPlane, ControlPlaneSpec, TenantId};
use skep_controlplane::{CellSettings, Config, ControlPlaneReconciler, Error};
use skep_datastore::fake::FakeTenants;
use skep_kubeops::{Metrics, Next, Observed, Reconciler as _, Recorder, Trigger};
use skep_testkit::objects::{self, TENANT};
use skep_testkit::{Backend, FakeApiServer, FaultLayer};

/// The cell.
pub struct Cell {
    pub backend: Backend,
    pub fake: FakeApiServer,
    pub store: FakeTenants,
}

/// What becomes of a pod that is started.
pub type Fate<'a> = &'a dyn Fn(&Value) -> Value;

impl Cell {
    pub fn new() -> Result<Self> {
        let fake = FakeApiServer::new();
        for namespace in [TENANT, skep_api::SYSTEM_NAMESPACE] {
            fake.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}));
        }
        let store = FakeTenants::new(Timestamp::now())?;
        Ok(Self { backend: Backend::Fake(fake.clone()), fake, store })
    }

    pub fn tenant() -> TenantId {
        TENANT.parse().unwrap()
    }

    pub fn datastore() -> DatastoreRef {
        DatastoreRef { namespace: "skep-system".into(), name: "main".into() }
    }

    /// A reconciler with nothing in memory, as after a start of the process.
    pub fn reconciler(&self, client: Client) -> ControlPlaneReconciler {
        let config = Config {
            client,
            store: Arc::new(self.store.clone()),
            cell: CellSettings { gateway: "https://127.0.0.1:6443".into(), priority_class: None },
            starts: 1,
            metrics: Metrics::default(),
            // Events are not what is compared: they go elsewhere.
            recorder: Recorder::new(FakeApiServer::bare().client(), "test", "test"),
        };
        ControlPlaneReconciler::new(config, Observed::default(), Trigger::new())
    }

    pub async fn create(&self, object: &ControlPlane) -> Result<()> {
        let api: Api<ControlPlane> = Api::namespaced(self.fake.client(), TENANT);
        api.create(&Default::default(), object).await?;
        Ok(())
    }

    pub async fn delete(&self) -> Result<()> {
        let api: Api<ControlPlane> = Api::namespaced(self.fake.client(), TENANT);
        api.delete(TENANT, &Default::default()).await?;
        Ok(())
    }

    /// Secrets of the cell itself, by name.
    pub fn secrets_of_the_cell(&self) -> BTreeMap<String, Value> {
        let own = |object: &Value| object["metadata"]["namespace"] == skep_api::SYSTEM_NAMESPACE;
        let all = self.fake.objects("secrets").into_iter().filter(own);
        all.map(|secret| (secret["metadata"]["name"].as_str().unwrap_or_default().to_owned(), secret))
            .collect()
    }

    /// Another tenant's control plane, which no pass of this cell looks at.
    pub fn plant_other(&self, tenant: &str) -> Result<ControlPlane> {
        self.fake.plant(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant}}));
        let mut object = serde_json::to_value(control_plane(|_| {}))?;
        object["metadata"] = json!({"name": tenant, "namespace": tenant});
        object["spec"]["tenant"] = json!(tenant);
        self.fake.plant(object);
        let mut all = self.fake.objects("controlplanes.skep.dev").into_iter();
        let planted = all.rfind(|object| object["metadata"]["name"] == tenant);
        Ok(serde_json::from_value(planted.context("it was not planted")?)?)
    }

    /// Changes the spec, as the hub does.
    pub fn change(&self, change: impl FnOnce(&mut Value)) {
        let known = self.fake.edit("controlplanes.skep.dev", TENANT, TENANT, |object| {
            change(&mut object["spec"]);
            object["metadata"]["generation"] =
                json!(object["metadata"]["generation"].as_i64().unwrap_or(1) + 1);
        });
        assert!(known);
    }

    pub fn control_plane(&self) -> Option<ControlPlane> {
        let object = self.fake.objects("controlplanes.skep.dev").into_iter().next()?;
        Some(serde_json::from_value(object).unwrap())
    }

    /// One pass over the control plane as it is now.
    pub async fn pass(&self, reconciler: &ControlPlaneReconciler) -> Result<Next, Error> {
        match self.control_plane() {
            Some(object) => reconciler.reconcile(Arc::new(object)).await,
            None => Ok(Next::Done),
        }
    }

    /// One pass of a process that starts for it.
    pub async fn fresh_pass(&self) -> Result<Next, Error> {
        self.pass(&self.reconciler(self.fake.client())).await
    }

    /// As [`Cell::fresh_pass`]; gives the calls it made.
    pub async fn counted_pass(&self) -> Result<Vec<String>> {
        let counter = FaultLayer::counting();
        let client = self.backend.client(Some(&counter)).await?;
        self.pass(&self.reconciler(client)).await?;
        Ok(counter.calls().iter().map(ToString::to_string).collect())
    }

    /// A condition as `status reason: message`.
    pub fn condition(&self, type_: ConditionType) -> String {
        let object = self.control_plane().unwrap();
        let conditions = object.status.map(|status| status.conditions).unwrap_or_default();
        match condition::get(&conditions, type_) {
            Some(c) => format!("{} {}: {}", c.status, c.reason, c.message),
            None => "none".to_owned(),
        }
    }

    /// Objects of a resource in the tenant's namespace.
    pub fn objects(&self, resource: &str) -> Vec<Value> {
        let own = |object: &Value| object["metadata"]["namespace"] == TENANT;
        self.fake.objects(resource).into_iter().filter(own).collect()
    }

    /// Names of them.
    pub fn names(&self, resource: &str) -> Vec<String> {
        let name = |object: Value| object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        self.objects(resource).into_iter().map(name).collect()
    }

    /// The revision or version of a program's Deployment.
    pub fn label(&self, program: &str, key: &str) -> String {
        let all = self.objects("deployments.apps");
        let deployment = all.iter().find(|d| d["metadata"]["name"] == program).unwrap();
        deployment["spec"]["template"]["metadata"]["labels"][key].as_str().unwrap_or_default().to_owned()
    }

    /// Does at once what controllers, scheduler and kubelet do: one pod for each copy, with the status `fate` gives it;
    /// pods of an older template go when a new one is ready; deleted ones end.
    pub async fn run_pods(&self, fate: Fate<'_>) -> Result<()> {
        for deployment in self.objects("deployments.apps") {
            self.run_copies(&deployment, fate).await?;
        }
        for pod in self.objects("pods") {
            if !pod["metadata"]["deletionTimestamp"].is_null() {
                self.end(&pod).await?;
            }
        }
        Ok(())
    }

    async fn run_copies(&self, deployment: &Value, fate: Fate<'_>) -> Result<()> {
        let program = deployment["metadata"]["name"].as_str().context("no name")?;
        let template = &deployment["spec"]["template"];
        let revision = template["metadata"]["labels"]["skep.dev/revision"].as_str().context("no revision")?;
        let mut ready = 0;
        for copy in 0..deployment["spec"]["replicas"].as_i64().unwrap_or(1) {
            // Digests of random keys differ from run to run: the name may not hold the revision.
            let version = &template["metadata"]["labels"]["app.kubernetes.io/version"];
            let name = format!("{program}-{}-{copy}", version.as_str().unwrap_or_default().replace('.', "-"));
            let mut pod = json!({
                "apiVersion": "v1", "kind": "Pod",
                "metadata": {
                    "name": name, "namespace": TENANT,
                    "labels": template["metadata"]["labels"], "annotations": template["metadata"]["annotations"],
                    "ownerReferences": [{"apiVersion": "apps/v1", "kind": "Deployment", "controller": true,
                        "name": program, "uid": deployment["metadata"]["uid"]}],
                },
                "spec": template["spec"],
            });
            pod["spec"]["nodeName"] = json!("node-1");
            pod["status"] = fate(&pod);
            let live = self.objects("pods").into_iter().find(|live| live["metadata"]["name"] == *name);
            match live {
                None => drop(self.fake.plant(pod.clone())),
                Some(live) if same(&live, &pod) => {}
                Some(_) => drop(self.fake.edit("pods", TENANT, &name, |live| {
                    live["metadata"]["labels"] = pod["metadata"]["labels"].clone();
                    live["status"] = pod["status"].clone();
                })),
            }
            ready += usize::from(is_ready(&pod));
        }
        let wanted = deployment["spec"]["replicas"].as_u64().unwrap_or(1) as usize;
        for pod in self.objects("pods") {
            let labels = &pod["metadata"]["labels"];
            let old = labels["skep.dev/component"] == program && labels["skep.dev/revision"] != revision;
            if old && ready == wanted {
                self.end(&pod).await?;
            }
        }
        Ok(())
    }

    async fn end(&self, pod: &Value) -> Result<()> {
        let api: Api<k8s_openapi::api::core::v1::Pod> = Api::namespaced(self.fake.client(), TENANT);
        let params = kube::api::DeleteParams { grace_period_seconds: Some(0), ..Default::default() };
        api.delete(pod["metadata"]["name"].as_str().context("no name")?, &params).await?;
        Ok(())
    }
}

fn same(live: &Value, pod: &Value) -> bool {
    live["metadata"]["labels"] == pod["metadata"]["labels"] && live["status"] == pod["status"]
}

fn is_ready(pod: &Value) -> bool {
    pod["status"]["conditions"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|c| c["type"] == "Ready" && c["status"] == "True")
}

/// A pod that serves.
pub fn ready(_: &Value) -> Value {
    json!({"phase": "Running", "podIP": "127.64.128.1", "conditions": [{"type": "Ready", "status": "True"}]})
}

/// A pod whose program ends at once, saying this.
pub fn failing(words: &str) -> Value {
    json!({
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": "False"}],
        "containerStatuses": [{
            "name": "kube-apiserver", "image": "skep.dev/kube:v1", "imageID": "", "ready": false, "restartCount": 3,
            "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
            "lastState": {"terminated": {"exitCode": 1, "reason": "Error", "message": words}},
        }],
    })
}

/// A control plane that can be upgraded.
pub fn control_plane(change: impl FnOnce(&mut ControlPlaneSpec)) -> ControlPlane {
    objects::control_plane("v1.35.4", change)
}
