//! Routes from a (scripted) Kubernetes API.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::body::Frame;
use kube::client::Body;
use serde_json::{Value, json};
use skep_gateway::Source;
use tokio::sync::mpsc;
use tokio_stream::{StreamExt, wrappers::UnboundedReceiverStream};

use crate::api_server::{ApiServer, name_of};
use crate::cell::{Cell, host, within};
use crate::tls::Identity;

/// Lists what it was made with, and streams what is sent to its watches.
#[derive(Clone, Default)]
struct Api {
    planes: Arc<Mutex<Kind>>,
    pods: Arc<Mutex<Kind>>,
    requests: Arc<Mutex<Vec<String>>>,
}

#[derive(Default)]
struct Kind {
    items: Vec<Value>,
    watch: Option<mpsc::UnboundedSender<Value>>,
}

impl Api {
    fn client(&self) -> kube::Client {
        let api = self.clone();
        kube::Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let answer = api.answer(request.uri());
                async move { Ok::<_, Infallible>(answer) }
            }),
            "default",
        )
    }

    fn answer(
        &self,
        uri: &http::Uri,
    ) -> Response<http_body_util::combinators::UnsyncBoxBody<Bytes, Infallible>> {
        use http_body_util::{BodyExt, Full};
        self.requests.lock().unwrap().push(uri.to_string());
        let kind = if uri.path() == "/api/v1/pods" { &self.pods } else { &self.planes };
        let mut kind = kind.lock().unwrap();
        if uri.query().unwrap_or_default().contains("watch=true") {
            let (sender, receiver) = mpsc::unbounded_channel::<Value>();
            kind.watch = Some(sender);
            let frames = UnboundedReceiverStream::new(receiver)
                .map(|event| Ok(Frame::data(Bytes::from(format!("{event}\n")))));
            return Response::new(StreamBody::new(frames).boxed_unsync());
        }
        let list = json!({
            "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": kind.items,
        });
        Response::new(Full::new(Bytes::from(list.to_string())).boxed_unsync())
    }

    /// Sends an event as soon as there is a watch.
    async fn event(kind: &Mutex<Kind>, event: &str, object: &Value) {
        let watch = within(async {
            loop {
                if let Some(watch) = kind.lock().unwrap().watch.clone() {
                    return watch;
                }
                tokio::task::yield_now().await;
            }
        })
        .await;
        watch.send(json!({"type": event, "object": object})).unwrap();
    }
}

fn plane(tenant: &str) -> Value {
    json!({
        "apiVersion": "skep.dev/v1alpha1", "kind": "ControlPlane",
        "metadata": {"name": tenant, "namespace": tenant, "resourceVersion": "2"},
        "spec": {"tenant": tenant, "endpoint": {"host": host(tenant), "port": 6443}, "version": "v1.36.3"},
    })
}

fn pod(tenant: &str, server: &ApiServer, ready: bool) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": "kube-apiserver-0", "namespace": tenant, "uid": "u", "resourceVersion": "2",
            "labels": {"skep.dev/component": "kube-apiserver", "skep.dev/tenant": tenant},
        },
        "spec": {"containers": [{"name": "c", "ports": [{"name": "https", "containerPort": server.address.port()}]}]},
        "status": {
            "podIP": server.address.ip().to_string(),
            "conditions": [{"type": "Ready", "status": if ready { "True" } else { "False" }}],
        },
    })
}

#[tokio::test]
async fn routes_follow_the_objects_of_the_cell() {
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    let api = Api::default();
    // An object that cannot be decoded must not stop the others.
    api.planes.lock().unwrap().items =
        vec![json!({"metadata": {"name": "x", "namespace": "x"}, "spec": 5}), plane("a")];
    api.pods.lock().unwrap().items = vec![pod("a", &server, false)];
    let cell = Cell::fed_by(Source::Kubernetes(api.client()), |_| ());

    let ready = async {
        cell.until_held(1).await;
        Api::event(&api.pods, "MODIFIED", &pod("a", &server, true)).await;
    };
    let (stream, ()) = within(async { tokio::join!(identity.connect(cell.address), ready) }).await;
    assert_eq!(name_of(&mut stream.unwrap(), 1).await, "s");

    let other = Identity::new(&host("b"));
    Api::event(&api.planes, "ADDED", &plane("b")).await;
    let serve_b = async {
        cell.until_held(1).await;
        Api::event(&api.pods, "ADDED", &pod("b", &server, true)).await;
    };
    // The server shows the certificate of the other tenant, so the handshake fails, but it was routed.
    let (result, ()) = within(async { tokio::join!(other.connect(cell.address), serve_b) }).await;
    assert!(result.is_err());
    assert_eq!(server.accepted(), 2);

    Api::event(&api.planes, "DELETED", &plane("b")).await;
    crate::cell::until(|| cell.directory.len() == 1).await;
    let requests = api.requests.lock().unwrap().join("\n");
    assert!(requests.contains("labelSelector=skep.dev%2Fcomponent%3Dkube-apiserver"), "{requests}");
}

#[tokio::test]
async fn a_watch_that_breaks_is_replaced_by_a_list() {
    let identity = Identity::new(&host("a"));
    let server = ApiServer::start("s", &identity).await;
    let api = Api::default();
    api.planes.lock().unwrap().items = vec![plane("a"), plane("gone")];
    api.pods.lock().unwrap().items = vec![pod("a", &server, true)];
    let cell = Cell::fed_by(Source::Kubernetes(api.client()), |_| ());
    within(identity.connect(cell.address)).await.unwrap();
    // A tenant of a list serves before the whole list is taken in.
    crate::cell::until(|| cell.directory.len() == 2).await;
    api.planes.lock().unwrap().items.pop();
    // 410: too old to continue from.
    let gone = json!({"kind": "Status", "code": 410, "reason": "Expired", "status": "Failure", "message": "too old"});
    Api::event(&api.planes, "ERROR", &gone).await;
    crate::cell::until(|| cell.directory.len() == 1).await;
    within(identity.connect(cell.address)).await.unwrap();
}
