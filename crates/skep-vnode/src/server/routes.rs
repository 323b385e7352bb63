//! Which path is answered by what.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use k8s_openapi::api::core::v1::Pod;
use serde_json::json;

use super::state::ServerState;
use super::{exec, forward, logs, metrics, resource, summary};
use crate::backend::PodUid;
use crate::pods::table::Row;

/// A refusal in plain text, which the API server passes on to the caller. What refuses a stream to a person has no colon
/// followed by a space: an API server before 1.36 reads it as a `Status` if it can, and it can read every mapping of YAML,
/// which makes an "unknown error" of it.
pub type Refusal = (StatusCode, String);

/// The routes of one node.
pub fn router(state: Arc<ServerState>) -> Router {
    Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route("/pods", get(pods))
        .route("/runningpods/", get(running_pods))
        .route("/containerLogs/{namespace}/{pod}/{container}", get(logs::logs))
        .route("/exec/{namespace}/{pod}/{container}", any(exec::by_name))
        .route("/exec/{namespace}/{pod}/{uid}/{container}", any(exec::by_uid))
        .route("/portForward/{namespace}/{pod}", any(forward::by_name))
        .route("/portForward/{namespace}/{pod}/{uid}", any(forward::by_uid))
        .route("/attach/{*rest}", any(no_attach))
        .route("/run/{*rest}", any(no_run))
        .route("/metrics", get(metrics::metrics))
        .route("/metrics/resource", get(resource::resource))
        .route("/stats/summary", get(summary::summary))
        .fallback(|| async { (StatusCode::NOT_FOUND, "a virtual node does not serve this path") })
        .with_state(state)
}

/// For a caller with a good certificate and a name that is not on the list.
pub fn forbidden(name: Option<&str>) -> Response {
    let text =
        format!("Forbidden (user={}): not allowed to use this node's endpoint\n", name.unwrap_or("unknown"));
    (StatusCode::FORBIDDEN, text).into_response()
}

async fn no_attach() -> Refusal {
    let text = "attach is not supported on virtual nodes, whose containers have no input of their own; use kubectl exec \
                for a new process or kubectl logs -f for the output";
    (StatusCode::NOT_IMPLEMENTED, text.to_owned())
}

async fn no_run() -> Refusal {
    (StatusCode::NOT_IMPLEMENTED, "run is not supported on virtual nodes: use exec".to_owned())
}

async fn pods(State(state): State<Arc<ServerState>>) -> Response {
    list(state.pods.all().iter().map(Row::whole).collect())
}

/// Only the pods of which something runs, by what the backend says.
async fn running_pods(State(state): State<Arc<ServerState>>) -> Response {
    let known = state.backend.pods();
    let running = |uid: &PodUid| known.contains(uid);
    list(state.pods.all().iter().filter(|row| running(&row.uid)).map(Row::whole).collect())
}

fn list(pods: Vec<Pod>) -> Response {
    let text = json!({"kind": "PodList", "apiVersion": "v1", "metadata": {}, "items": pods}).to_string();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// The pod of this name, and of this uid when one is given.
pub fn find(state: &ServerState, namespace: &str, name: &str, uid: Option<&str>) -> Result<Row, Refusal> {
    let row = state.pods.find(namespace, name).filter(|row| uid.is_none_or(|uid| row.uid.as_str() == uid));
    row.ok_or_else(|| {
        (StatusCode::NOT_FOUND, format!("pod {namespace}/{name} does not exist on node {}", state.name))
    })
}

/// The pod, when it has this container.
pub fn find_container(
    state: &ServerState,
    namespace: &str,
    name: &str,
    uid: Option<&str>,
    container: &str,
) -> Result<Row, Refusal> {
    let row = find(state, namespace, name, uid)?;
    if row.has_container(container) {
        return Ok(row);
    }
    Err((StatusCode::NOT_FOUND, format!("container {container:?} not found in pod {name:?}")))
}

/// Names in a path.
pub type PodPath = Path<(String, String)>;
/// Names in a path with a container or a uid.
pub type Path3 = Path<(String, String, String)>;
/// Names in a path with a uid and a container.
pub type Path4 = Path<(String, String, String, String)>;
