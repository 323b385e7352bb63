//! A release host on loopback that can misbehave.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io::Write as _;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures::StreamExt as _;
use sha2::{Digest as _, Sha256};

use crate::fake_go::PROGRAM;

/// One answer.
#[derive(Clone)]
pub enum Reply {
    Bytes(Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Promises a length, sends less, closes.
    Cut(Vec<u8>),
    /// Never answers.
    Silence,
    /// Sends something and then nothing more.
    Stall(Vec<u8>),
}

/// A server and what it was asked for.
#[derive(Clone, Default)]
pub struct Server {
    inner: Arc<Mutex<Inner>>,
    pub url: String,
}

#[derive(Default)]
struct Inner {
    /// Path → answers; the last one stays.
    replies: HashMap<String, Vec<Reply>>,
    hits: Vec<String>,
}

pub fn text(text: &str) -> Reply {
    Reply::Bytes(text.as_bytes().to_vec())
}

pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|b| format!("{b:02x}")).collect()
}

impl Server {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = Self { url, ..Self::default() };
        server.serve(listener);
        server
    }

    /// A server that does not listen yet.
    pub fn silent() -> Self {
        Self::default()
    }

    /// Answers what comes in.
    pub fn serve<L: axum::serve::Listener<Addr: std::fmt::Debug>>(&self, listener: L) {
        let router = axum::Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
    }

    /// The next answers for a path.
    pub fn reply(&self, path: &str, replies: impl IntoIterator<Item = Reply>) {
        self.inner.lock().unwrap().replies.insert(path.to_owned(), replies.into_iter().collect());
    }

    pub fn hits(&self) -> Vec<String> {
        self.inner.lock().unwrap().hits.clone()
    }

    pub fn hits_of(&self, suffix: &str) -> usize {
        self.hits().iter().filter(|path| path.ends_with(suffix)).count()
    }

    /// A whole and correct release of Kubernetes.
    pub fn with_kubernetes(self, version: &str) -> Self {
        for program in [
            "kube-apiserver",
            "kube-controller-manager",
            "kube-scheduler",
            "kubectl",
            "kubelet",
            "kube-proxy",
        ] {
            let path = kube_path(version, program);
            self.reply(&path, [text(PROGRAM)]);
            self.reply(&format!("{path}.sha256"), [text(&sha256(PROGRAM.as_bytes()))]);
        }
        self
    }

    /// A whole and correct release of etcd. Gives the archive too.
    pub fn with_etcd(self, version: &str) -> (Self, Vec<u8>) {
        let stem = format!("etcd-{version}-linux-{}", arch());
        let members = ["README.md", "etcd", "etcdctl", "etcdutl"].map(|name| format!("{stem}/{name}"));
        let archive = self.archive(&etcd_archive_path(version), &etcd_sums_path(version), &members);
        (self, archive)
    }

    /// An archive of programs, and the list with its digest and that of another file.
    pub fn archive(&self, path: &str, sums: &str, members: &[String]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        for member in members {
            let mut header = tar::Header::new_gnu();
            header.set_size(PROGRAM.len() as u64);
            header.set_mode(0o755);
            tar.append_data(&mut header, member, PROGRAM.as_bytes()).unwrap();
        }
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&tar.into_inner().unwrap()).unwrap();
        let archive = gzip.finish().unwrap();
        let file = path.rsplit('/').next().unwrap();
        let list = format!("{}  {file}\n{}  other.zip\n", sha256(&archive), sha256(b"x"));
        self.reply(path, [Reply::Bytes(archive.clone())]);
        self.reply(sums, [text(&list)]);
        archive
    }
}

pub fn kube_path(version: &str, program: &str) -> String {
    format!("/release/{version}/bin/linux/{}/{program}", arch())
}

pub fn etcd_archive_path(version: &str) -> String {
    format!("/etcd-io/etcd/releases/download/{version}/etcd-{version}-linux-{}.tar.gz", arch())
}

pub fn etcd_sums_path(version: &str) -> String {
    format!("/etcd-io/etcd/releases/download/{version}/SHA256SUMS")
}

pub fn arch() -> &'static str {
    if std::env::consts::ARCH == "aarch64" { "arm64" } else { "amd64" }
}

fn first<E>(bytes: Vec<u8>) -> impl futures::Stream<Item = Result<Bytes, E>> {
    futures::stream::iter([Ok(Bytes::from(bytes))])
}

async fn answer(State(server): State<Server>, uri: Uri) -> Response {
    let reply = {
        let mut inner = server.inner.lock().unwrap();
        inner.hits.push(uri.path().to_owned());
        match inner.replies.get_mut(uri.path()) {
            None => Reply::Status(404),
            Some(replies) if replies.len() > 1 => replies.remove(0),
            Some(replies) => replies[0].clone(),
        }
    };
    match reply {
        Reply::Bytes(bytes) => bytes.into_response(),
        Reply::Status(code) => StatusCode::from_u16(code).unwrap().into_response(),
        Reply::Redirect(to) => (StatusCode::FOUND, [(header::LOCATION, to)]).into_response(),
        Reply::Cut(bytes) => {
            let length = bytes.len() + 100;
            // One turn without data makes the server send what it has.
            let cut = async {
                tokio::task::yield_now().await;
                Err(std::io::Error::other("cut"))
            };
            let body = first(bytes).chain(futures::stream::once(cut));
            ([(header::CONTENT_LENGTH, length.to_string())], Body::from_stream(body)).into_response()
        }
        Reply::Silence => std::future::pending().await,
        Reply::Stall(bytes) => {
            let body = first(bytes).chain(futures::stream::pending::<Result<Bytes, Infallible>>());
            Body::from_stream(body).into_response()
        }
    }
}
