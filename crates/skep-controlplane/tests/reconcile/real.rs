//! The same against a real API server: what it takes, what it fills in, what it refuses.

use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skep_api::ControlPlane;
use skep_kubeops::Reconciler as _;
use skep_testkit::ApiServer;
use skep_testkit::objects::TENANT;

use crate::cell::{Cell, control_plane};

const COLLECTIONS: [&str; 7] = [
    "/api/v1/namespaces/skep-system/secrets",
    "/api/v1/namespaces/demo-abcd2345/secrets",
    "/api/v1/namespaces/demo-abcd2345/configmaps",
    "/apis/apps/v1/namespaces/demo-abcd2345/deployments",
    "/apis/networking.k8s.io/v1/namespaces/demo-abcd2345/networkpolicies",
    "/apis/policy/v1/namespaces/demo-abcd2345/poddisruptionbudgets",
    "/apis/skep.dev/v1alpha1/namespaces/demo-abcd2345/controlplanes",
];

#[tokio::test]
async fn a_real_api_server_agrees() -> Result<()> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let server = ApiServer::shared().await?;
    let client = server.client().await?;
    let cell = Cell::new()?;
    let namespace: Namespace = serde_json::from_value(json!({"metadata": {"name": TENANT,
        "labels": {"pod-security.kubernetes.io/enforce": "restricted"}}}))?;
    let namespaces = Api::<Namespace>::all(client.clone());
    namespaces.create(&PostParams::default(), &namespace).await?;
    let system: Namespace =
        serde_json::from_value(json!({"metadata": {"name": skep_api::SYSTEM_NAMESPACE}}))?;
    namespaces.create(&PostParams::default(), &system).await?;
    let api: Api<ControlPlane> = Api::namespaced(client.clone(), TENANT);
    api.create(&PostParams::default(), &control_plane(|spec| spec.api_server.replicas = 2)).await?;

    let pass = || async {
        let object = api.get(TENANT).await?;
        cell.reconciler(client.clone()).reconcile(Arc::new(object)).await?;
        anyhow::Ok(())
    };
    pass().await?;
    pass().await?;
    let settled = versions(&client).await?;
    pass().await?;
    ensure!(versions(&client).await? == settled, "a process that starts anew writes what is there already");
    pods_keep_to_the_restricted_standard(&client).await?;
    what_cannot_change_is_refused(&api).await
}

/// Name and version of everything.
async fn versions(client: &Client) -> Result<Vec<String>> {
    let mut all = Vec::new();
    for path in COLLECTIONS {
        let list: Value = client.request(http::Request::get(path).body(Vec::new())?).await?;
        for object in list["items"].as_array().into_iter().flatten() {
            let meta = &object["metadata"];
            all.push(format!("{path} {} {}", meta["name"], meta["resourceVersion"]));
        }
    }
    ensure!(all.len() >= 18, "{all:#?}");
    Ok(all)
}

/// What the namespace enforces on pods when their ReplicaSet makes them.
async fn pods_keep_to_the_restricted_standard(client: &Client) -> Result<()> {
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), TENANT);
    let pods: Api<Pod> = Api::namespaced(client.clone(), TENANT);
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    for deployment in deployments.list(&ListParams::default()).await? {
        let template = deployment.spec.context("no spec")?.template;
        let mut pod =
            Pod { metadata: template.metadata.unwrap_or_default(), spec: template.spec, status: None };
        pod.metadata.name = deployment.metadata.name;
        pods.create(&dry_run, &pod).await?;
    }
    Ok(())
}

async fn what_cannot_change_is_refused(api: &Api<ControlPlane>) -> Result<()> {
    let changes = [
        (json!({"tenant": "other"}), "tenant cannot change"),
        (json!({"datastore": {"name": "other"}}), "datastore cannot change"),
        (json!({"network": {"podCidr": "10.0.0.0/16"}}), "network cannot change"),
        (json!({"apiServer": {"replicas": 0}}), "should be greater than or equal to 1"),
        (json!({"version": "latest"}), "should match"),
    ];
    for (change, words) in changes {
        let patch = Patch::Merge(json!({"spec": change}));
        let refusal = api.patch(TENANT, &PatchParams::default(), &patch).await;
        let text = refusal.err().map(|error| error.to_string()).unwrap_or_default();
        ensure!(text.contains(words), "{change}: {text:?}");
    }
    Ok(())
}
