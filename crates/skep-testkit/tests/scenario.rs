//! The scenario runner lets a sound reconciler pass and finds the usual mistakes.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use anyhow::Result;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;
use skep_testkit::{
    ApiServer, Backend, FakeApiServer, Fault, Scenario, World,
    scenario::{Real, settle},
};

const FINALIZER: &str = "skep.dev/outside";

/// What the reconciler does wrong.
#[derive(Clone, Copy, PartialEq)]
enum Mistake {
    Nothing,
    /// Makes the child under a new name each time it cannot see one.
    RandomNames,
    /// Makes the outside thing before the finalizer is there.
    FinalizerLate,
    /// Takes the finalizer off before the outside thing is gone.
    FinalizerEarly,
    /// Children have no owner, and nobody removes them.
    Orphans,
    /// Believes its memory, not the world: skips the second child once the first is there.
    Shortcut,
    /// Writes in every pass.
    Restless,
}

/// A parent (ConfigMap `parent`), two Secrets below it, and something outside the cluster.
struct Family {
    backend: Backend,
    outside: Arc<Mutex<BTreeSet<String>>>,
    mistake: Mistake,
    passes: u32,
}

impl Family {
    fn fake(mistake: Mistake) -> Self {
        let backend = Backend::Fake(FakeApiServer::bare());
        Self { backend, outside: Arc::default(), mistake, passes: 0 }
    }

    async fn pass(&mut self, client: &Client) -> Result<()> {
        self.passes += 1;
        let parents: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        let Some(parent) = parents.get_opt("parent").await? else { return Ok(()) };
        let finalizers = |list: &[&str]| Patch::Merge(json!({"metadata": {"finalizers": list}}));
        let held = parent.meta().finalizers.iter().flatten().any(|name| name == FINALIZER);
        let make = || self.outside.lock().unwrap().insert("thing".into());
        let drop = || self.outside.lock().unwrap().clear();
        let params = PatchParams::default();
        if parent.meta().deletion_timestamp.is_some() {
            if self.mistake != Mistake::FinalizerEarly {
                drop();
            }
            if held {
                parents.patch("parent", &params, &finalizers(&[])).await?;
            }
            drop();
            return Ok(());
        }
        if self.mistake == Mistake::FinalizerLate {
            make();
        }
        if !held {
            parents.patch("parent", &params, &finalizers(&[FINALIZER])).await?;
        }
        make();
        self.children(client, &parent).await
    }

    async fn children(&self, client: &Client, parent: &ConfigMap) -> Result<()> {
        let secrets: Api<Secret> = Api::namespaced(client.clone(), "default");
        let mut owners = vec![parent.controller_owner_ref(&()).unwrap()];
        if self.mistake == Mistake::Orphans {
            owners.clear();
        }
        if self.mistake == Mistake::RandomNames {
            if secrets.list(&Default::default()).await?.items.is_empty() {
                for _ in 0..2 {
                    let child = json!({"metadata": {"generateName": "child-", "ownerReferences": owners}});
                    secrets.create(&PostParams::default(), &serde_json::from_value(child)?).await?;
                }
            }
            return Ok(());
        }
        let skip = self.mistake == Mistake::Shortcut && secrets.get_opt("first").await?.is_some();
        for name in ["first", "second"].into_iter().take(if skip { 1 } else { 2 }) {
            let passes = if self.mistake == Mistake::Restless { self.passes } else { 0 };
            let child = json!({
                "apiVersion": "v1", "kind": "Secret",
                "metadata": {"name": name, "ownerReferences": owners, "labels": {"passes": passes.to_string()}},
                "data": {"k": "dg=="},
            });
            secrets.patch(name, &PatchParams::apply("family").force(), &Patch::Apply(child)).await?;
        }
        Ok(())
    }
}

impl World for Family {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn set_up(&mut self, client: &Client) -> Result<()> {
        let parent = json!({"metadata": {"name": "parent"}});
        let parents: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        parents.create(&PostParams::default(), &serde_json::from_value(parent)?).await?;
        Ok(())
    }

    async fn converge(&mut self, client: Client) -> Result<()> {
        let backend = self.backend.clone();
        let cell = tokio::sync::Mutex::new(self);
        settle(&backend, 8, || async { cell.lock().await.pass(&client).await }).await
    }

    async fn delete(&mut self, client: &Client) -> Result<()> {
        let parents: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
        parents.delete("parent", &DeleteParams::background()).await?;
        Ok(())
    }

    async fn leftovers(&mut self) -> Vec<String> {
        self.outside.lock().unwrap().iter().cloned().collect()
    }
}

#[tokio::test]
async fn a_sound_reconciler_survives_every_fault_at_every_call() {
    let report = Scenario::new(|| async { Ok(Family::fake(Mistake::Nothing)) }).run().await.unwrap();
    assert_eq!(report.creation.len(), 7, "{:?}", report.creation);
    assert!(report.runs > 40, "{report:?}");
}

#[tokio::test]
async fn each_mistake_is_found_and_named() {
    for (mistake, words) in [
        (Mistake::RandomNames, "other objects than without the fault"),
        (Mistake::FinalizerLate, "left behind outside the API server"),
        (Mistake::FinalizerEarly, "left behind outside the API server"),
        (Mistake::Orphans, "deletion does not lead back to the start"),
        (Mistake::Shortcut, "missing: Secret default/second"),
        (Mistake::Restless, "still changing after 8 passes"),
    ] {
        let result = Scenario::new(|| async { Ok(Family::fake(mistake)) }).run().await;
        let error = format!("{:#}", result.expect_err(words));
        assert!(error.contains(words), "expected {words:?} in: {error}");
    }
}

#[tokio::test]
async fn the_same_scenario_runs_on_a_real_server() {
    // Every k with `SKEP_TEST_ALL_FAULTS=1`; a selection otherwise, for time.
    let all = std::env::var_os("SKEP_TEST_ALL_FAULTS").is_some();
    let server = ApiServer::shared_whole().await.unwrap();
    let build = || async {
        let real = Real::new(server, &["/api/v1/configmaps", "/api/v1/secrets"]).await?;
        Ok(Family { backend: Backend::Real(real), ..Family::fake(Mistake::Nothing) })
    };
    let scenario = Scenario::new(build).every(if all { 1 } else { 3 });
    let scenario = if all {
        scenario
    } else {
        scenario.faults(&[Fault::Unavailable, Fault::CrashBefore, Fault::CrashAfter])
    };
    assert!(scenario.run().await.unwrap().runs > 5);
}
