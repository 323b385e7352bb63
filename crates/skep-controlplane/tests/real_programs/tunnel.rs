//! What needs a node, through the tunnel: requests of the API server to a kubelet, admission webhooks, aggregated APIs.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

use crate::bed::Bed;
use crate::inside::{Inside, NODE, POD, PORT};
use crate::text;

const KUBELET: &str = "/api/v1/nodes/worker-1/proxy/healthz";

/// Without an agent the way ends in words that explain it, and not in a packet.
pub async fn the_network_of_a_cluster_without_nodes_fails_by_name(admin: &Client) -> Result<()> {
    let nodes: Api<Node> = Api::all(admin.clone());
    let node: Node = serde_json::from_value(json!({"metadata": {"name": "worker-1"}}))?;
    nodes.create(&PostParams::default(), &node).await?;
    let status = json!({"status": {"addresses": [{"type": "InternalIP", "address": NODE}]}});
    nodes.patch_status("worker-1", &PatchParams::default(), &Patch::Merge(status)).await?;
    match text(admin, KUBELET).await {
        Err(error) if error.to_string().contains("no node of this cluster is connected") => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// With one it leads to the node and to pods.
pub async fn a_node_that_is_connected_is_reached(bed: &Bed, admin: &Client) -> Result<()> {
    let inside = Inside::start().await?;
    let agent = bed.join("worker-1", inside.clone()).await?;
    // Whoever answers at the node's address is not its kubelet for that.
    unverified(admin, "certificate signed by unknown authority").await?;
    inside.certify(&bed.serving("worker-1", "198.51.100.2")?).await?;
    unverified(admin, "certificate is valid for 198.51.100.2, not 198.51.100.1").await?;
    inside.certify(&bed.serving("worker-1", NODE)?).await?;
    let healthy = text(admin, KUBELET).await?;
    ensure!(healthy == "healthy, says the kubelet", "{healthy}");
    logs(admin).await?;
    service(admin).await?;
    webhook(bed, admin, &inside).await?;
    aggregated_api(bed, admin, &inside).await?;
    let dialled = inside.dialled();
    ensure!(dialled == [format!("{NODE}:10250"), format!("{POD}:{PORT}")], "{dialled:?}");
    drop(agent);
    // The API server keeps a connection to the kubelet, which is gone now as well.
    bed.wait("the node to be away", || async {
        text(admin, KUBELET).await.is_err_and(|error| error.to_string().contains("no node of this cluster"))
    })
    .await
}

async fn unverified(admin: &Client, why: &str) -> Result<()> {
    match text(admin, KUBELET).await {
        Err(error) if error.to_string().contains(why) => Ok(()),
        other => bail!("{other:?}"),
    }
}

/// `kubectl logs`
async fn logs(admin: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(admin.clone(), "default");
    let pod = serde_json::from_value(json!({"metadata": {"name": "app"}, "spec": {"nodeName": "worker-1",
        "containers": [{"name": "main", "image": "app"}], "tolerations": [{"operator": "Exists"}]}}))?;
    pods.create(&PostParams::default(), &pod).await?;
    let line = pods.logs("app", &Default::default()).await?;
    ensure!(line == "a line of a log\n", "{line}");
    Ok(())
}

/// A Service with an endpoint that the pod network would lead to.
async fn service(admin: &Client) -> Result<()> {
    let service = json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "inside", "namespace": "default"},
        "spec": {"ports": [{"name": "https", "port": 443, "targetPort": PORT}]}});
    create(admin, &service).await?;
    let slice = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "inside-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "inside"}},
        "endpoints": [{"addresses": [POD], "conditions": {"ready": true}}],
        "ports": [{"name": "https", "port": PORT, "protocol": "TCP"}]});
    create(admin, &slice).await
}

async fn webhook(bed: &Bed, admin: &Client, inside: &Inside) -> Result<()> {
    let hook = json!({"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "inside"}, "webhooks": [{"name": "inside.example.com", "sideEffects": "None",
            "admissionReviewVersions": ["v1"], "failurePolicy": "Fail",
            "objectSelector": {"matchLabels": {"ask": "inside"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"]}],
            "clientConfig": {"service": {"name": "inside", "namespace": "default", "path": "/admit"},
                "caBundle": base64(&inside.ca_pem)}}]});
    create(admin, &hook).await?;
    let maps: Api<ConfigMap> = Api::namespaced(admin.clone(), "default");
    let map: ConfigMap =
        serde_json::from_value(json!({"metadata": {"generateName": "asked-", "labels": {"ask": "inside"}}}))?;
    // Until the API server has taken in hook and endpoints, it lets pass or fails otherwise.
    bed.wait("the webhook", || async {
        let refused = maps.create(&PostParams::default(), &map).await.err();
        refused.is_some_and(|error| error.to_string().contains("the webhook has seen it"))
    })
    .await
}

async fn aggregated_api(bed: &Bed, admin: &Client, inside: &Inside) -> Result<()> {
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.inside.example.com"}, "spec": {"group": "inside.example.com", "version": "v1",
            "groupPriorityMinimum": 100, "versionPriority": 100, "caBundle": base64(&inside.ca_pem),
            "service": {"name": "inside", "namespace": "default"}}});
    create(admin, &service).await?;
    bed.wait("the aggregated API", || async {
        let things = text(admin, "/apis/inside.example.com/v1/things").await;
        things.is_ok_and(|things| things.contains("one"))
    })
    .await
}

async fn create(admin: &Client, object: &Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object.clone())?;
    let types = object.types.clone().context("no type")?;
    let resource = ApiResource::from_gvk(&GroupVersionKind::try_from(&types)?);
    let api: Api<DynamicObject> = match &object.metadata.namespace {
        Some(namespace) => Api::namespaced_with(admin.clone(), namespace, &resource),
        None => Api::all_with(admin.clone(), &resource),
    };
    api.create(&PostParams::default(), &object).await?;
    Ok(())
}

/// As a Kubernetes object has bytes.
fn base64(text: &str) -> Value {
    json!(k8s_openapi::ByteString(text.as_bytes().to_vec()))
}
