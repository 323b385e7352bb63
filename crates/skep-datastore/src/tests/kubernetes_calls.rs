//! Every call to the API server fails once, in every way: the same objects, and nothing left after deletion.

use kube::Client;
use kube::api::{DeleteParams, PostParams};
use serde_json::{Value, json};
use skep_testkit::FakeApiServer;
use skep_testkit::fault::Fault;
use skep_testkit::scenario::{Backend, Scenario, World, settle};

use super::cell::{api, manifest, pass, reconciler, server};
use crate::etcd::stage::FakeEtcd;

/// A cell with one datastore, whose etcd is in memory.
struct Cell {
    backend: Backend,
    etcd: FakeEtcd,
}

impl Cell {
    /// `away`: etcd never answers.
    fn new(away: bool) -> Self {
        let etcd = FakeEtcd::default();
        etcd.with(|held| held.away = away);
        Self { backend: Backend::Fake(server()), etcd }
    }
}

impl World for Cell {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn set_up(&mut self, client: &Client) -> anyhow::Result<()> {
        api(client).create(&PostParams::default(), &manifest()).await?;
        Ok(())
    }

    async fn converge(&mut self, client: Client) -> anyhow::Result<()> {
        let reconciler = reconciler(&client, &self.etcd);
        Box::pin(settle(&self.backend, 12, async || pass(&reconciler, &client).await)).await
    }

    async fn delete(&mut self, client: &Client) -> anyhow::Result<()> {
        if let Backend::Fake(server) = &self.backend
            && !server.objects("statefulsets.apps").is_empty()
        {
            // As the StatefulSet's controller made it; nothing but the datastore's end takes it away.
            server.plant(json!({
                "apiVersion": "v1", "kind": "PersistentVolumeClaim",
                "metadata": {"name": "data-main-0", "namespace": "skep-system"},
            }));
        }
        api(client).delete("main", &DeleteParams::default()).await?;
        Ok(())
    }

    fn normalise(&self, object: &mut Value) {
        if let Some(digest) = object.pointer_mut("/spec/template/metadata/annotations/skep.dev~1trust-digest")
        {
            *digest = "random".into();
        }
    }
}

/// Without retries of its own the reconciler cannot tell 429 and a lost request from 503.
const FAULTS: &[Fault] =
    &[Fault::Conflict, Fault::Unavailable, Fault::TimeoutAfter, Fault::CrashBefore, Fault::CrashAfter];

#[tokio::test]
async fn creation_and_deletion() {
    let scenario = Scenario::new(async || Ok(Cell::new(false))).faults(FAULTS);
    let report = Box::pin(scenario.run()).await.unwrap();
    assert!(report.runs > 50, "{report:?}");
}

#[tokio::test]
async fn deletion_before_the_first_answer() {
    let scenario = Scenario::new(async || Ok(Cell::new(true))).faults(FAULTS).every(3);
    let report = Box::pin(scenario.run()).await.unwrap();
    assert!(report.runs > 20, "{report:?}");
}

#[tokio::test]
async fn a_settled_datastore_is_only_read() {
    let server: FakeApiServer = server();
    let (client, etcd) = (server.client(), FakeEtcd::default());
    api(&client).create(&PostParams::default(), &manifest()).await.unwrap();
    let backend = Backend::Fake(server);
    let reconciler = reconciler(&client, &etcd);
    Box::pin(settle(&backend, 12, async || pass(&reconciler, &client).await)).await.unwrap();
    let before = backend.state().await.unwrap();
    for _ in 0..3 {
        pass(&reconciler, &client).await.unwrap();
    }
    assert_eq!(backend.state().await.unwrap(), before);
}
