//! An object of a newer definition than this program knows, on a real API server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{sync::Arc, time::Duration};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{
    Api, CustomResourceExt as _,
    api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams},
    runtime::wait::await_condition,
};
use serde_json::{Value, json};
use skep_api::Cluster;
use skep_kubeops::{Applier, Controller, Error, Next, Reconciler};
use skep_testkit::ApiServer;
use tokio::{sync::mpsc, time::timeout};
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_secs(30);

/// Says that what it sees is ready.
struct Ready {
    applier: Applier,
    seen: mpsc::UnboundedSender<String>,
}

impl Reconciler for Ready {
    type Object = Cluster;
    type Error = Error;

    fn name() -> &'static str {
        "ready"
    }

    async fn reconcile(&self, cluster: Arc<Cluster>) -> Result<Next, Error> {
        let status = serde_json::from_value(json!({"kubeconfigSecret": "kept", "conditions": [{
            "type": "Ready", "status": "True", "reason": "Serving", "message": "",
            "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]}));
        self.applier.status(&*cluster, cluster.status.as_ref(), &status.unwrap()).await?;
        self.seen.send(cluster.metadata.name.clone().unwrap()).unwrap();
        Ok(Next::Done)
    }
}

/// The definition of a later version: there is one more channel.
fn newer() -> CustomResourceDefinition {
    let mut crd = serde_json::to_value(Cluster::crd()).unwrap();
    let spec = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/channel/enum";
    crd.pointer_mut(spec).and_then(Value::as_array_mut).unwrap().push(json!("Future"));
    serde_json::from_value(crd).unwrap()
}

fn ready(object: Option<&DynamicObject>) -> Option<&Value> {
    let conditions = object?.data["status"]["conditions"].as_array()?;
    conditions.iter().find(|condition| condition["type"] == "Ready")
}

#[tokio::test]
async fn it_is_said_in_a_condition_and_taken_back_when_corrected() {
    let server = ApiServer::shared().await.unwrap();
    server.install(&[newer()]).await.unwrap();
    let client = server.client().await.unwrap();
    let (seen, mut reconciled) = mpsc::unbounded_channel();
    let applier = Applier::new(client.clone(), "test-ready");
    let shutdown = CancellationToken::new();
    let controller = Controller::new(Ready { applier, seen }, client.clone());
    let running = tokio::spawn(controller.run(shutdown.clone()));
    let raw: Api<DynamicObject> =
        Api::namespaced_with(client, "default", &ApiResource::erase::<Cluster>(&()));
    let create = async |name: &str, channel: &str| {
        let object = json!({
            "apiVersion": "skep.dev/v1alpha1", "kind": "Cluster", "metadata": {"name": name},
            "spec": {"channel": channel},
        });
        raw.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
    };
    let change = async |name: &str, channel: &str| {
        let patch = Patch::Merge(json!({"spec": {"channel": channel}}));
        raw.patch(name, &PatchParams::default(), &patch).await.unwrap();
    };
    let until = async |name: &str, status: &'static str| {
        let is = move |object: Option<&DynamicObject>| {
            ready(object).is_some_and(|ready| ready["status"] == status)
        };
        timeout(PATIENCE, await_condition(raw.clone(), name, is)).await.expect(status).unwrap().unwrap()
    };
    let mut next = async || timeout(PATIENCE, reconciled.recv()).await.expect("a reconcile").unwrap();

    // One that was never read, and one that was.
    create("new", "Future").await;
    create("old", "Stable").await;
    assert_eq!(next().await, "old");
    until("old", "True").await;
    change("old", "Future").await;
    for name in ["new", "old"] {
        let told = until(name, "Unknown").await;
        let condition = ready(Some(&told)).unwrap();
        assert_eq!(condition["reason"], "Unreadable");
        let message = condition["message"].as_str().unwrap();
        assert!(
            message.contains(name) && message.contains("Future") && message.contains("correct"),
            "{message}"
        );
    }
    let old = raw.get("old").await.unwrap();
    assert_eq!(old.data["status"]["kubeconfigSecret"], "kept", "the rest of the status is not touched");

    // What is written is a change like any other, and must not be answered by another one.
    let before = raw.get("new").await.unwrap();
    create("other", "Stable").await;
    assert_eq!(next().await, "other");
    until("other", "True").await;
    assert_eq!(raw.get("new").await.unwrap().metadata.resource_version, before.metadata.resource_version);

    for name in ["new", "old"] {
        change(name, "Stable").await;
        assert_eq!(next().await, name);
        let well = until(name, "True").await;
        assert_eq!(ready(Some(&well)).unwrap()["reason"], "Serving");
    }
    shutdown.cancel();
    running.await.unwrap();
}
