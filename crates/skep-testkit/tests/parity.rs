//! The fake answers as the real API server does: the same scripted calls on both, answers compared.
//!
//! What differs by nature (uids, versions, times) is replaced first; everything
//! else, down to the words of refusals and the fields each manager owns, must be equal.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use http::{Method, Request};
use http_body_util::BodyExt;
use kube::{Client, client::Body};
use serde_json::{Value, json};
use skep_testkit::{ApiServer, FakeApiServer};

#[path = "parity/normal.rs"]
mod normal;
#[path = "parity/scripts.rs"]
mod scripts;

use normal::Normaliser;

/// One call of a script.
struct Call {
    method: Method,
    path: String,
    content_type: &'static str,
    body: Value,
    /// Headers and query are part of the path; metadata-only answers are asked for like this.
    metadata_only: bool,
}

async fn send(client: &Client, call: &Call) -> (u16, Value) {
    let body = if call.body.is_null() { Vec::new() } else { call.body.to_string().into_bytes() };
    let mut request =
        Request::builder().method(call.method.clone()).uri(&call.path).header("user-agent", "parity/1");
    if !call.content_type.is_empty() {
        request = request.header("content-type", call.content_type);
    }
    if call.metadata_only {
        let list = call.method == Method::GET && call.path.contains('?') && !call.path.contains("watch=true");
        let kind = if list { "PartialObjectMetadataList" } else { "PartialObjectMetadata" };
        request = request.header("accept", format!("application/json;as={kind};g=meta.k8s.io;v=v1"));
    }
    let response = client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
    let code = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8_lossy(&bytes);
    if call.path.contains("watch=true") {
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        return (code, Value::Array(events));
    }
    (code, serde_json::from_str(&text).unwrap_or_else(|_| Value::String(text.into_owned())))
}

/// Runs a script; every answer in normal form. `${uid:name}` and `${rv:name}` in paths and
/// bodies stand for what the object of that name had when last answered.
async fn run(client: &Client, script: &[Call]) -> Vec<Value> {
    let mut normaliser = Normaliser::default();
    let mut answers = Vec::new();
    for call in script {
        let call = Call {
            method: call.method.clone(),
            path: normaliser.fill(&call.path),
            content_type: call.content_type,
            body: serde_json::from_str(&normaliser.fill(&call.body.to_string())).unwrap(),
            metadata_only: call.metadata_only,
        };
        let (code, answer) = send(client, &call).await;
        normaliser.learn(&answer);
        answers.push(json!({ "code": code, "answer": normaliser.normal(answer) }));
    }
    answers
}

async fn compare(name: &str, script: impl Fn(&str) -> Vec<Call>) {
    let real = ApiServer::shared().await.unwrap();
    real.install(&[scripts::widget_crd()]).await.unwrap();
    let real_client = real.client().await.unwrap();
    let namespace = real.namespace(&real_client, name).await.unwrap();
    let fake = FakeApiServer::new().with_crds(&[scripts::widget_crd()]).without_garbage_collection();
    let script = script(&namespace);

    let fake_client = fake.client();
    let create = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
    let setup = scripts::post("/api/v1/namespaces", create);
    assert_eq!(send(&fake_client, &setup).await.0, 201);

    let (expected, actual) = tokio::join!(run(&real_client, &script), run(&fake_client, &script));
    let mut differences = Vec::new();
    for (index, (call, (expected, actual))) in script.iter().zip(expected.iter().zip(&actual)).enumerate() {
        let before = differences.len();
        differ("", expected, actual, &mut differences);
        if differences.len() > before {
            differences.insert(before, format!("call {index}: {} {} {}", call.method, call.path, call.body));
        }
    }
    assert!(differences.is_empty(), "{name}: real API server < > fake\n{}", differences.join("\n"));
}

/// Every place where two values differ.
fn differ(at: &str, expected: &Value, actual: &Value, differences: &mut Vec<String>) {
    match (expected, actual) {
        (Value::Object(left), Value::Object(right)) => {
            for name in left.keys().chain(right.keys().filter(|name| !left.contains_key(*name))) {
                let side = |map: &serde_json::Map<String, Value>| {
                    map.get(name).cloned().unwrap_or(json!("<absent>"))
                };
                differ(&format!("{at}/{name}"), &side(left), &side(right), differences);
            }
        }
        (Value::Array(left), Value::Array(right)) if left.len() == right.len() => {
            for (index, (left, right)) in left.iter().zip(right).enumerate() {
                differ(&format!("{at}/{index}"), left, right, differences);
            }
        }
        _ if expected != actual => differences.push(format!("  {at}\n    < {expected}\n    > {actual}")),
        _ => {}
    }
}

#[tokio::test]
async fn reads_and_writes() {
    compare("rw", scripts::reads_and_writes).await;
}

#[tokio::test]
async fn conflicts_and_preconditions() {
    compare("conflict", scripts::conflicts).await;
}

#[tokio::test]
async fn server_side_apply_of_maps() {
    compare("ssa-maps", scripts::apply_maps).await;
}

#[tokio::test]
async fn server_side_apply_of_lists() {
    compare("ssa-lists", scripts::apply_lists).await;
}

#[tokio::test]
async fn server_side_apply_across_managers() {
    compare("ssa-managers", scripts::apply_managers).await;
}

#[tokio::test]
async fn status_and_generation() {
    compare("status", scripts::status).await;
}

#[tokio::test]
async fn patches() {
    compare("patches", scripts::patches).await;
}

#[tokio::test]
async fn finalizers_and_deletion() {
    compare("finalizers", scripts::finalizers).await;
}

#[tokio::test]
async fn selectors_and_metadata() {
    compare("selectors", scripts::selectors).await;
}

#[tokio::test]
async fn watches() {
    compare("watches", scripts::watches).await;
}

#[tokio::test]
async fn schemas_prune_and_default() {
    compare("schemas", scripts::schemas).await;
}

#[tokio::test]
async fn secrets() {
    compare("secrets", scripts::secrets).await;
}
