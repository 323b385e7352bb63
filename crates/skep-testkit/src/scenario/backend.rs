//! Where a scenario's objects live: in memory, or in a real API server.

use std::{sync::Arc, time::Duration};

use anyhow::{Context, Result};
use http::Request;
use kube::{
    Client,
    client::{Body, ConfigExt},
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{BoxError, Layer, ServiceBuilder, util::BoxCloneService};

use crate::{ApiServer, FakeApiServer, FaultLayer, PATIENCE, ResponseBody};

/// Objects that kube-controller-manager puts into every namespace, at its own pace.
const EVERYWHERE: [&str; 2] = ["kube-root-ca.crt", "default"];

/// Where a world's objects live.
#[derive(Clone)]
pub enum Backend {
    /// In memory.
    Fake(FakeApiServer),
    /// In a real API server.
    Real(Real),
}

/// A real API server, seen through some of its collections.
#[derive(Clone)]
pub struct Real {
    server: &'static ApiServer,
    /// Collection paths over all namespaces: `/api/v1/secrets`, `/apis/skep.dev/v1alpha1/clusters`.
    collections: Arc<[String]>,
    /// What was there before, by uid.
    baseline: Arc<[String]>,
}

impl Real {
    /// Looks at these collections of a server; what is in them now is not the scenario's.
    ///
    /// # Errors
    /// A collection cannot be listed.
    pub async fn new(server: &'static ApiServer, collections: &[&str]) -> Result<Self> {
        let collections = collections.iter().map(|path| (*path).to_owned()).collect();
        let mut real = Self { server, collections, baseline: Arc::new([]) };
        let uid = |object: Value| object["metadata"]["uid"].as_str().unwrap_or_default().to_owned();
        real.baseline = real.list().await?.into_iter().map(uid).collect();
        Ok(real)
    }

    async fn list(&self) -> Result<Vec<Value>> {
        let client = self.server.client().await?;
        let mut objects = Vec::new();
        for path in self.collections.iter() {
            let request = Request::get(path).body(Vec::new())?;
            let list: Value = client.request(request).await.with_context(|| format!("cannot list {path}"))?;
            let kind = list["kind"].as_str().unwrap_or_default().trim_end_matches("List").to_owned();
            for mut object in list["items"].as_array().cloned().unwrap_or_default() {
                let uid = object["metadata"]["uid"].as_str().unwrap_or_default();
                let name = object["metadata"]["name"].as_str().unwrap_or_default();
                if EVERYWHERE.contains(&name) || self.baseline.iter().any(|known| known == uid) {
                    continue;
                }
                object["apiVersion"] = list["apiVersion"].clone();
                object["kind"] = json!(kind);
                object["metadata"]["selfLink"] = json!(item_path(path, &object));
                objects.push(object);
            }
        }
        Ok(objects)
    }

    async fn clean_up(&self) -> Result<()> {
        let client = self.server.client().await?;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = self.list().await?;
            if left.is_empty() {
                return Ok(());
            }
            anyhow::ensure!(Instant::now() < deadline, "{} objects cannot be removed", left.len());
            for object in left {
                let path = object["metadata"]["selfLink"].as_str().unwrap_or_default();
                let patch = json!({"metadata": {"finalizers": null}}).to_string().into_bytes();
                let freed = Request::patch(path)
                    .header("content-type", "application/merge-patch+json")
                    .body(patch)?;
                let _ = client.request::<Value>(freed).await;
                let _ = client.request::<Value>(Request::delete(path).body(Vec::new())?).await;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

/// `/api/v1/secrets` and an object make `/api/v1/namespaces/n/secrets/x`.
fn item_path(collection: &str, object: &Value) -> String {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    match (object["metadata"]["namespace"].as_str(), collection.rsplit_once('/')) {
        (Some(namespace), Some((root, plural))) => format!("{root}/namespaces/{namespace}/{plural}/{name}"),
        _ => format!("{collection}/{name}"),
    }
}

impl Backend {
    /// A client, with or without faults. It does not repeat calls.
    ///
    /// # Errors
    /// The real server's kubeconfig cannot be used.
    pub async fn client(&self, faults: Option<&FaultLayer>) -> Result<Client> {
        let identity = FaultLayer::counting();
        let layer = faults.unwrap_or(&identity);
        match self {
            Self::Fake(fake) => Ok(Client::new(layer.layer(fake.service()), "default")),
            Self::Real(real) => {
                let config = real.server.config().await?;
                let https = config.rustls_https_connector()?;
                let transport =
                    hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
                        .build(https);
                let service = ServiceBuilder::new()
                    .map_response(|response: http::Response<_>| response.map(boxed))
                    .layer(config.base_uri_layer())
                    .map_err(BoxError::from)
                    .service(transport);
                let service: BoxCloneService<Request<Body>, http::Response<ResponseBody>, BoxError> =
                    BoxCloneService::new(service);
                Ok(Client::new(layer.layer(service), "default"))
            }
        }
    }

    /// All objects, as sent.
    ///
    /// # Errors
    /// The real server cannot be asked.
    pub async fn objects(&self) -> Result<Vec<Value>> {
        match self {
            Self::Fake(fake) => Ok(fake.dump()),
            Self::Real(real) => real.list().await,
        }
    }

    /// Name and version of every object: equal if nothing was written in between.
    ///
    /// # Errors
    /// The real server cannot be asked.
    pub async fn state(&self) -> Result<Vec<String>> {
        let line = |object: &Value| {
            let meta = &object["metadata"];
            format!("{} {} {} {}", object["kind"], meta["namespace"], meta["name"], meta["resourceVersion"])
        };
        let ours = |object: &&Value| object["kind"] != "Event" && object["kind"] != "Lease";
        Ok(self.objects().await?.iter().filter(ours).map(line).collect())
    }

    /// How long the world is given to become as it should be without our doing anything.
    pub(super) fn patience(&self) -> Duration {
        match self {
            Self::Fake(_) => Duration::ZERO,
            Self::Real(_) => PATIENCE,
        }
    }

    /// Leaves a real server as it was.
    pub(super) async fn clean_up(&self) -> Result<()> {
        match self {
            Self::Fake(_) => Ok(()),
            Self::Real(real) => real.clean_up().await,
        }
    }
}

fn boxed<B>(body: B) -> ResponseBody
where
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    use http_body_util::BodyExt;
    body.map_err(Into::into).boxed_unsync()
}
