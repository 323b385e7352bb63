//! A reconciler made of this crate's parts survives every fault at every call.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::sync::{Arc, Mutex};

use anyhow::Result;
use k8s_openapi::{
    api::{
        core::v1::{ConfigMap, Secret},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
};
use serde_json::json;
use skep_kubeops::{Applier, Error, Next, Reconciler, finalizer};
use skep_testkit::{
    ApiServer, Backend, FakeApiServer, Fault, Scenario, World,
    scenario::{Real, settle},
};

const FINALIZER: &str = "skep.dev/test";

/// Gives each budget a ConfigMap and a Secret, removes a Secret of an older version, and something outside.
struct Gardener {
    applier: Applier,
    outside: Arc<Mutex<Vec<String>>>,
}

impl Gardener {
    fn child<K: serde::de::DeserializeOwned>(owner: &PodDisruptionBudget, name: &str) -> K {
        serde_json::from_value(json!({
            "metadata": {
                "name": name, "namespace": owner.metadata.namespace, "labels": {"by": "gardener"},
                "ownerReferences": [owner.controller_owner_ref(&()).unwrap()],
            },
            "data": {"k": "dg=="},
        }))
        .unwrap()
    }
}

impl Reconciler for Gardener {
    type Object = PodDisruptionBudget;
    type Error = Error;

    fn name() -> &'static str {
        "gardener"
    }

    async fn reconcile(&self, object: Arc<PodDisruptionBudget>) -> Result<Next, Error> {
        let namespace = object.metadata.namespace.as_deref().unwrap();
        let api: Api<PodDisruptionBudget> = Api::namespaced(self.applier.client().clone(), namespace);
        if object.metadata.deletion_timestamp.is_some() {
            self.outside.lock().unwrap().clear();
            finalizer::remove(&api, &object, FINALIZER).await?;
            return Ok(Next::Done);
        }
        finalizer::ensure(&api, &object, FINALIZER).await?;
        *self.outside.lock().unwrap() = vec!["thing".to_owned()];
        self.applier.ensure(&Self::child::<ConfigMap>(&object, "settings")).await?;
        self.applier.ensure(&Self::child::<Secret>(&object, "keys")).await?;
        let uid = object.metadata.uid.as_deref();
        self.applier.sweep::<Secret>(Some(namespace), "by=gardener", uid, &["keys"]).await?;
        let ready = Condition {
            type_: "Ready".into(),
            status: "True".into(),
            reason: "Grown".into(),
            message: String::new(),
            last_transition_time: Time(jiff::Timestamp::now()),
            observed_generation: None,
        };
        let status = PodDisruptionBudgetStatus {
            conditions: Some(vec![ready]),
            ..PodDisruptionBudgetStatus::default()
        };
        self.applier.status(object.as_ref(), object.status.as_ref(), &status).await?;
        Ok(Next::Done)
    }
}

struct Garden {
    backend: Backend,
    outside: Arc<Mutex<Vec<String>>>,
}

impl World for Garden {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn set_up(&mut self, client: &Client) -> Result<()> {
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), "default");
        let budget = serde_json::from_value(json!({
            "metadata": {"name": "a"}, "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"no": "pod"}}},
        }))?;
        let budget = budgets.create(&PostParams::default(), &budget).await?;
        let old: Secret = Gardener::child(&budget, "old-keys");
        Api::namespaced(client.clone(), "default").create(&PostParams::default(), &old).await?;
        Ok(())
    }

    async fn converge(&mut self, client: Client) -> Result<()> {
        let gardener = Gardener {
            applier: Applier::new(client.clone(), "gardener"),
            outside: Arc::clone(&self.outside),
        };
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client, "default");
        settle(&self.backend, 8, || async {
            for budget in budgets.list(&Default::default()).await? {
                gardener.reconcile(Arc::new(budget)).await?;
            }
            Ok(())
        })
        .await
    }

    async fn delete(&mut self, client: &Client) -> Result<()> {
        let budgets: Api<PodDisruptionBudget> = Api::namespaced(client.clone(), "default");
        budgets.delete("a", &DeleteParams::background()).await?;
        Ok(())
    }

    fn normalise(&self, object: &mut serde_json::Value) {
        // On a real control plane the disruption controller writes into the status as well.
        if object["kind"] == "PodDisruptionBudget" {
            let ours = |condition: &serde_json::Value| condition["type"] == "Ready";
            let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
            object["status"] = conditions.into_iter().filter(ours).collect();
        }
    }

    async fn leftovers(&mut self) -> Vec<String> {
        self.outside.lock().unwrap().clone()
    }
}

#[tokio::test]
async fn on_the_fake() {
    let build =
        || async { Ok(Garden { backend: Backend::Fake(FakeApiServer::new()), outside: Arc::default() }) };
    let report = Scenario::new(build).run().await.unwrap();
    assert!(report.runs > 100, "{report:?}");
}

#[tokio::test]
async fn on_a_real_control_plane() {
    let all = std::env::var_os("SKEP_TEST_ALL_FAULTS").is_some();
    let server = ApiServer::shared_whole().await.unwrap();
    let collections = ["/api/v1/configmaps", "/api/v1/secrets", "/apis/policy/v1/poddisruptionbudgets"];
    let build = || async {
        let backend = Backend::Real(Real::new(server, &collections).await?);
        Ok(Garden { backend, outside: Arc::default() })
    };
    let scenario = Scenario::new(build).every(if all { 1 } else { 4 });
    let scenario = if all {
        scenario
    } else {
        scenario.faults(&[Fault::TimeoutAfter, Fault::CrashAfter, Fault::Conflict])
    };
    assert!(scenario.run().await.unwrap().runs > 5);
}
