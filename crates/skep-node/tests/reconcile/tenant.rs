//! What a tenant's API server can do and the one in memory cannot: evictions and approvals, put in front of a client as the
//! plain calls they come to, so that faults meet them too.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::{Value, json};
use tower::BoxError;

/// Names of pods that a disruption budget holds.
pub type Held = Arc<Mutex<BTreeSet<String>>>;

/// A client of the tenant behind `client`.
pub fn client(client: Client, held: Held) -> Client {
    let service = tower::service_fn(move |request: Request<Body>| {
        let (client, held) = (client.clone(), held.clone());
        async move { perform(client, held, request).await }
    });
    Client::new(service, "default")
}

async fn perform(client: Client, held: Held, request: Request<Body>) -> Result<Response<Body>, BoxError> {
    let path = request.uri().path().to_owned();
    if request.method() == Method::POST && path.ends_with("/eviction") {
        return evict(client, held, request, &path).await;
    }
    if path.ends_with("/approval") {
        // In memory it is part of the status.
        let (mut head, body) = request.into_parts();
        let query = head.uri.query().unwrap_or_default().to_owned();
        head.uri = format!("{}?{query}", path.replace("/approval", "/status")).parse()?;
        return Ok(client.send(Request::from_parts(head, body)).await?);
    }
    Ok(client.send(request).await?)
}

async fn evict(
    client: Client,
    held: Held,
    request: Request<Body>,
    path: &str,
) -> Result<Response<Body>, BoxError> {
    let body = request.into_body().collect().await?.to_bytes();
    let eviction: Value = serde_json::from_slice(&body)?;
    let pod = path.trim_end_matches("/eviction");
    let name = pod.rsplit('/').next().unwrap_or_default().to_owned();
    if held.lock().unwrap().contains(&name) {
        let text = "Cannot evict pod as it would violate the pod's disruption budget.";
        return answer(429, &status("Failure", "TooManyRequests", 429, text));
    }
    // Pods end at once here.
    let mut options = eviction["deleteOptions"].clone();
    options["gracePeriodSeconds"] = json!(0);
    let delete = Request::delete(pod).header("content-type", "application/json");
    let response = client.send(delete.body(Body::from(options.to_string().into_bytes()))?).await?;
    match response.status() {
        StatusCode::OK => answer(201, &status("Success", "", 201, "")),
        _ => Ok(response),
    }
}

fn status(outcome: &str, reason: &str, code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": outcome, "reason": reason, "code": code,
        "message": message})
}

fn answer(code: u16, body: &Value) -> Result<Response<Body>, BoxError> {
    let body = Body::from(Bytes::from(body.to_string()).to_vec());
    Ok(Response::builder().status(code).header("content-type", "application/json").body(body)?)
}
