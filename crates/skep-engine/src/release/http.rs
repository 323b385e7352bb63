//! A client that cannot hang: every connection, head and piece of a body has a deadline, every body a size limit.

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response, Uri, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::body::{Body as _, Incoming};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::io::AsyncWriteExt as _;
use tokio::time::timeout;

use super::origin;
use crate::config::Limits;
use crate::digest::Hasher;
use crate::error::{Error, Result};
use crate::progress::HEARTBEAT;

/// Upstream's downloads need one or two.
const MAX_REDIRECTS: usize = 5;

/// Fetches from one base.
pub(crate) struct Client {
    inner: legacy::Client<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    limits: Limits,
}

/// Why something could not be fetched, as a sentence without a full stop.
#[derive(Debug)]
pub(super) struct Failure {
    text: String,
    kind: Kind,
}

#[derive(Debug, PartialEq)]
enum Kind {
    /// Nobody answered: others need not try.
    Unreachable,
    /// The server answered with a refusal.
    Refused,
    /// It began and did not end well: worth a second try.
    Broken,
}

impl Failure {
    pub(super) fn broken(url: &Uri, why: impl fmt::Display) -> Self {
        Self { text: format!("{url}: {why}"), kind: Kind::Broken }
    }

    fn refused(url: &Uri, why: impl fmt::Display) -> Self {
        Self { text: format!("{url}: {why}"), kind: Kind::Refused }
    }

    fn unreachable(url: &Uri, why: impl fmt::Display) -> Self {
        Self { text: format!("{}: {why}", url.host().unwrap_or_default()), kind: Kind::Unreachable }
    }

    pub(super) fn is_unreachable(&self) -> bool {
        self.kind == Kind::Unreachable
    }

    pub(super) fn is_final(&self) -> bool {
        self.kind != Kind::Broken
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Client {
    /// A client for this base. `Err` says why none can be made: no certificates to check servers by.
    pub(crate) fn new(base: &Uri, limits: Limits) -> Result<Self, String> {
        let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| format!("TLS cannot be set up: {e}"))?;
        // A server of this machine needs no TLS, and must work where no CA certificates are installed.
        let config = if base.scheme_str() == Some("https") {
            config.with_native_roots().map_err(|e| {
                format!("no CA certificates to check servers by ({e}); package `ca-certificates` has them")
            })?
        } else {
            config.with_root_certificates(rustls::RootCertStore::empty())
        };
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(limits.connect));
        let https = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(config.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        Ok(Self { inner: legacy::Client::builder(TokioExecutor::new()).build(https), limits })
    }

    /// A small text.
    pub(super) async fn text(&self, url: &Uri, limit: u64) -> Result<String, Failure> {
        let mut body = self.get(url).await?.into_body();
        let mut bytes = Vec::new();
        while let Some(piece) = self.next(url, &mut body).await? {
            bytes.extend_from_slice(&piece);
            if bytes.len() as u64 > limit {
                return Err(Failure::refused(url, "it is much too long to be a digest"));
            }
        }
        String::from_utf8(bytes).map_err(|_| Failure::refused(url, "it is not text"))
    }

    /// A file, to `path`. Gives its SHA-256. The outer error is about the disk.
    pub(super) async fn file(
        &self,
        url: &Uri,
        path: &Path,
        limit: u64,
        report: impl Fn(u64, Option<u64>),
    ) -> Result<Result<String, Failure>> {
        report(0, None);
        let response = match self.get(url).await {
            Ok(response) => response,
            Err(failure) => return Ok(Err(failure)),
        };
        let mut body = response.into_body();
        let total = body.size_hint().exact();
        if let Some(total) = total.filter(|total| *total > limit) {
            return Ok(Err(Failure::refused(url, format!("{} MiB are too much", total >> 20))));
        }
        let disk = || Error::io("write", path, total.unwrap_or(limit));
        let mut file = tokio::fs::File::create(path).await.map_err(disk())?;
        let (mut hasher, mut done, mut reported) = (Hasher::default(), 0_u64, Instant::now());
        loop {
            match self.next(url, &mut body).await {
                Ok(Some(piece)) => {
                    done += piece.len() as u64;
                    if done > limit {
                        return Ok(Err(Failure::refused(url, format!("more than {} MiB came", limit >> 20))));
                    }
                    hasher.update(&piece);
                    file.write_all(&piece).await.map_err(disk())?;
                }
                Ok(None) => break,
                Err(failure) => return Ok(Err(failure)),
            }
            if reported.elapsed() >= HEARTBEAT {
                report(done, total);
                reported = Instant::now();
            }
        }
        file.flush().await.map_err(disk())?;
        Ok(Ok(hasher.finish()))
    }

    /// Asks, following redirects to places that may be asked.
    async fn get(&self, url: &Uri) -> Result<Response<Incoming>, Failure> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = Request::get(at.clone())
                .header(header::USER_AGENT, concat!("skep-engine/", env!("CARGO_PKG_VERSION")))
                .body(Empty::new())
                .map_err(|e| Failure::refused(url, e))?;
            let response = match timeout(self.limits.head, self.inner.request(request)).await {
                Err(_) => {
                    return Err(Failure::unreachable(&at, format!("no answer {}", within(self.limits.head))));
                }
                Ok(Err(error)) if error.is_connect() => return Err(Failure::unreachable(&at, root(&error))),
                Ok(Err(error)) => return Err(Failure::broken(url, root(&error))),
                Ok(Ok(response)) => response,
            };
            let status = response.status();
            if status == http::StatusCode::OK {
                return Ok(response);
            }
            let location = response.headers().get(header::LOCATION).and_then(|l| l.to_str().ok());
            match location.filter(|_| status.is_redirection()) {
                Some(location) => {
                    at = origin::redirect(&at, location).map_err(|why| Failure::refused(url, why))?
                }
                None if status == http::StatusCode::NOT_FOUND => {
                    return Err(Failure::refused(url, "it is not published there"));
                }
                None if status.is_server_error() => {
                    return Err(Failure::broken(url, format!("it answers {status}")));
                }
                None => return Err(Failure::refused(url, format!("it answers {status}"))),
            }
        }
        Err(Failure::refused(url, format!("it redirects more than {MAX_REDIRECTS} times")))
    }

    /// The next piece of a body.
    async fn next(&self, url: &Uri, body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
        loop {
            let frame = timeout(self.limits.idle, body.frame()).await.map_err(|_| {
                Failure::broken(url, format!("nothing more came {}", within(self.limits.idle)))
            })?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => {
                    return Err(Failure::broken(url, format!("it broke off: {}", root(&error))));
                }
                // Trailers are of no interest.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

fn within(time: Duration) -> String {
    format!("within {} s", time.as_secs_f32())
}

/// The innermost reason: the outer ones say "client error" and no more.
fn root(error: &(dyn std::error::Error + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
