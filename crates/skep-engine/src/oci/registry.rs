//! A registry that can only be read: the pull half of distribution-spec 1.1 over a layout and the engine.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Deserialize;
use serde_json::json;
use tokio::fs::File;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::io::ReaderStream;
use tokio_util::sync::CancellationToken;

use super::layout::{Descriptor, INDEX, Layout, hex};
use super::name::Name;
use super::own;
use crate::catalogue::REGISTRY;
use crate::engine::Engine;
use crate::error::Result;
use crate::progress::Silent;

/// Gives container runtimes what is in a layout, and the engine's programs as images. Plain HTTP, for networks of one
/// machine; nothing in it is secret, and nothing can be changed through it.
#[derive(Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

struct Shared {
    layout: Layout,
    engine: Engine,
    /// One image of the engine is written at a time.
    writing: Mutex<()>,
}

/// containerd says for which registry it asks.
#[derive(Deserialize)]
struct Namespace {
    ns: Option<String>,
}

impl Registry {
    /// A registry of these images.
    pub fn new(layout: Layout, engine: Engine) -> Self {
        Self { shared: Arc::new(Shared { layout, engine, writing: Mutex::default() }) }
    }

    /// Serves until `shutdown`.
    ///
    /// # Errors
    /// Those of the listener.
    pub async fn serve(self, listener: TcpListener, shutdown: CancellationToken) -> std::io::Result<()> {
        let routes = Router::new()
            .route("/v2/", get(|| async { "{}" }))
            .route("/v2/{*path}", get(answer))
            .with_state(self);
        axum::serve(listener, routes).with_graceful_shutdown(shutdown.cancelled_owned()).await
    }

    /// The image of this name. What the engine can make is made now.
    async fn resolve(&self, name: &Name) -> Result<Option<Descriptor>> {
        let Shared { layout, engine, writing } = &*self.shared;
        match own::program(engine, name, &Silent).await? {
            Some(artifact) => {
                let _one = writing.lock().await;
                own::find(layout, artifact, name).await
            }
            None => layout.find(name),
        }
    }
}

/// What is asked for below `/v2/`.
#[derive(Debug, PartialEq, Eq)]
enum Wanted<'a> {
    Manifest { repository: &'a str, reference: &'a str },
    Blob { digest: &'a str },
}

fn wanted(path: &str) -> Option<Wanted<'_>> {
    let (front, last) = path.rsplit_once('/')?;
    match front.rsplit_once('/')? {
        (repository, "manifests") => Some(Wanted::Manifest { repository, reference: last }),
        (_, "blobs") => Some(Wanted::Blob { digest: last }),
        _ => None,
    }
}

async fn answer(
    State(registry): State<Registry>,
    Path(path): Path<String>,
    Query(namespace): Query<Namespace>,
    method: Method,
) -> Response {
    let layout = &registry.shared.layout;
    match wanted(&path) {
        Some(Wanted::Blob { digest }) => send(layout, digest, "application/octet-stream", &method).await,
        Some(Wanted::Manifest { reference, .. }) if hex(reference).is_some() => {
            let kind = media_type(layout, reference).await;
            send(layout, reference, &kind, &method).await
        }
        Some(Wanted::Manifest { repository, reference }) => {
            let host = namespace.ns.as_deref().unwrap_or(REGISTRY);
            let Ok(name) = Name::new(host, repository, reference) else {
                return refused(StatusCode::BAD_REQUEST, "NAME_INVALID", "this is no name of an image");
            };
            match registry.resolve(&name).await {
                Ok(Some(found)) => send(layout, &found.digest, &found.media_type, &method).await,
                Ok(None) => {
                    let message = format!(
                        "{name} is not here: `skep image load FILE` brings it, `skep image list` shows what is"
                    );
                    refused(StatusCode::NOT_FOUND, "MANIFEST_UNKNOWN", &message)
                }
                Err(error) => {
                    tracing::warn!(image = %name, %error, "an image cannot be given");
                    refused(StatusCode::SERVICE_UNAVAILABLE, "UNAVAILABLE", &error.to_string())
                }
            }
        }
        None => refused(StatusCode::NOT_FOUND, "UNSUPPORTED", "only manifests and blobs can be read here"),
    }
}

/// What a manifest says it is.
async fn media_type(layout: &Layout, digest: &str) -> String {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed {
        media_type: Option<String>,
    }
    // Larger ones were refused when they were loaded.
    let text = match layout.blob(digest) {
        Some(path) => tokio::fs::read(path).await.unwrap_or_default(),
        None => Vec::new(),
    };
    serde_json::from_slice::<Typed>(&text)
        .ok()
        .and_then(|typed| typed.media_type)
        .unwrap_or_else(|| INDEX.to_owned())
}

async fn send(layout: &Layout, digest: &str, kind: &str, method: &Method) -> Response {
    let unknown = || refused(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", "there is no blob of this digest");
    let Some(path) = layout.blob(digest) else { return unknown() };
    let Ok(file) = File::open(&path).await else { return unknown() };
    let Ok(size) = file.metadata().await.map(|file| file.len()) else { return unknown() };
    let mut headers = HeaderMap::new();
    for (name, value) in [
        (header::CONTENT_TYPE, kind.to_owned()),
        (header::CONTENT_LENGTH, size.to_string()),
        (header::HeaderName::from_static("docker-content-digest"), digest.to_owned()),
    ] {
        // A media type comes from a file and may be anything.
        if let Ok(value) = value.parse() {
            headers.insert(name, value);
        }
    }
    let body =
        if method == Method::HEAD { Body::empty() } else { Body::from_stream(ReaderStream::new(file)) };
    (headers, body).into_response()
}

fn refused(status: StatusCode, code: &str, message: &str) -> Response {
    let body = json!({"errors": [{"code": code, "message": message}]}).to_string();
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let digest = format!("sha256:{}", "0".repeat(64));
        assert_eq!(wanted("a/b/manifests/1"), Some(Wanted::Manifest { repository: "a/b", reference: "1" }));
        assert_eq!(wanted(&format!("a/blobs/{digest}")), Some(Wanted::Blob { digest: &digest }));
        assert!(wanted("manifests/manifests/manifests").is_some());
        for other in ["", "a", "manifests/1", "a/tags/list"] {
            assert_eq!(wanted(other), None, "{other}");
        }
    }
}
