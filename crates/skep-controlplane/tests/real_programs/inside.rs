//! The inside of a cluster as an API server sees it through a node: a kubelet, a webhook, an extension API server. All of
//! them answer alike over HTTPS on loopback; the agent's dialler puts them where the objects say.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use skep_agent::tunnel::wire::Refusal;
use skep_agent::tunnel::{Dial, Outcome, Target};
use skep_pki::{Authority, KeyPair, Leaf};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

/// Address of the node (TEST-NET-2: nobody has it).
pub const NODE: &str = "198.51.100.1";
/// Address of the pod behind the Service.
pub const POD: &str = "198.51.100.77";
/// Port of the pod.
pub const PORT: u16 = 8443;

const DAY: Duration = Duration::from_secs(86_400);

/// What is inside.
pub struct Inside {
    /// Where the pod behind the Service is.
    pod: SocketAddr,
    /// Where the node's kubelet is.
    kubelet: Mutex<SocketAddr>,
    /// Authority of the pod's certificate.
    pub ca_pem: String,
    /// Targets that were dialled.
    dialled: Mutex<Vec<String>>,
}

impl Inside {
    /// Serves. The kubelet has the certificate of an authority that the cluster does not know.
    pub async fn start() -> Result<Arc<Self>> {
        let authority = Authority::generate("inside", DAY, Timestamp::now())?;
        let leaf = Leaf::server("inside", DAY).dns("inside.default.svc").address(NODE.parse::<IpAddr>()?);
        let at = listen(&authority.issue(&leaf, Timestamp::now())?).await?;
        Ok(Arc::new(Self {
            pod: at,
            kubelet: Mutex::new(at),
            ca_pem: authority.cert_pem().to_owned(),
            dialled: Mutex::default(),
        }))
    }

    /// From now on the kubelet shows this certificate.
    pub async fn certify(&self, kubelet: &KeyPair) -> Result<()> {
        let at = listen(kubelet).await?;
        *self.kubelet.lock().unwrap() = at;
        Ok(())
    }

    /// What was dialled, each target once.
    pub fn dialled(&self) -> Vec<String> {
        let mut all = self.dialled.lock().unwrap().clone();
        all.sort();
        all.dedup();
        all
    }
}

impl Dial for Inside {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Outcome> {
        Box::pin(async move {
            let target = target.to_string();
            self.dialled.lock().unwrap().push(target.clone());
            let at = match target {
                _ if target == format!("{NODE}:10250") => *self.kubelet.lock().unwrap(),
                _ if target == format!("{POD}:{PORT}") => self.pod,
                _ => return Err((Refusal::Unreachable, format!("nothing is at {target}"))),
            };
            Ok(TcpStream::connect(at).await.unwrap())
        })
    }
}

/// Serves with a certificate; gives the address.
async fn listen(pair: &KeyPair) -> Result<SocketAddr> {
    let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes())?];
    let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let (listener, acceptor) = (TcpListener::bind("127.0.0.1:0").await?, TlsAcceptor::from(Arc::new(config)));
    let at = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(tls) = acceptor.accept(stream).await else { return };
                let service = hyper::service::service_fn(answer);
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(tls), service)
                    .await;
            });
        }
    });
    Ok(at)
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    let (kind, text) = match path.as_str() {
        "/healthz" => ("text/plain", "healthy, says the kubelet".to_owned()),
        "/containerLogs/default/app/main" => ("text/plain", "a line of a log\n".to_owned()),
        "/admit" => ("application/json", deny(&body).to_string()),
        "/apis/inside.example.com/v1" => (
            "application/json",
            json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "inside.example.com/v1",
                "resources": [{"name": "things", "singularName": "thing", "namespaced": false, "kind": "Thing",
                    "verbs": ["get", "list"]}]})
            .to_string(),
        ),
        "/apis/inside.example.com/v1/things" => ("application/json", json!({"things": ["one"]}).to_string()),
        _ => ("text/plain", String::new()),
    };
    let status = if text.is_empty() { 404 } else { 200 };
    let response = Response::builder().status(status).header("content-type", kind);
    Ok(response.body(Full::new(text.into())).unwrap())
}

fn deny(review: &[u8]) -> Value {
    let review: Value = serde_json::from_slice(review).unwrap_or_default();
    json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": {
        "uid": review["request"]["uid"], "allowed": false, "status": {"message": "the webhook has seen it"}}})
}
