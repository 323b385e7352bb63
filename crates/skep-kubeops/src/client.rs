//! The client factory: where a client comes from, and the limits every client has.
//!
//! A client has one HTTP/2 connection, as client-go's have: over HTTP/1.1 each watch and each call of a burst would keep a
//! connection of its own, with tens of KiB on either side and a TLS handshake before it. kube-apiserver takes 100 streams
//! at once over a connection (more wait for their turn), so watches of one program must stay far below that; ours are
//! a few for each kind of object. What needs a connection to be taken over (exec, attach, port-forward) is not for these
//! clients.
//!
//! Guarantees: no call waits for ever. Connections have a connect timeout,
//! requests a deadline (watches and other long streams excepted: the watcher
//! has its own idle timeout), and retries are few and short instead of kube's
//! default of sixteen attempts over five minutes, POST included.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::USER_AGENT};
use http_body_util::combinators::UnsyncBoxBody;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::connect::HttpConnector,
    rt::{TokioExecutor, TokioTimer},
};
use kube::{
    Client, Config,
    client::{Body, ConfigExt, retry::RetryPolicy},
    config::{KubeConfigOptions, Kubeconfig},
};
use rustls::pki_types::ServerName;
use tower::{BoxError, Layer, Service, ServiceBuilder, retry::RetryLayer, util::BoxCloneService};

mod deadline;

pub use deadline::DeadlineLayer;

/// Time to reach the API server's TCP port and finish the handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Time until the head of an answer. The server's own limit is 60 s
/// (`kube-apiserver --request-timeout`); nothing we send takes half of that.
const REQUEST_DEADLINE: Duration = Duration::from_secs(30);
/// First and longest pause between two attempts of one call, and how many follow the first.
const RETRY_FIRST: Duration = Duration::from_millis(500);
const RETRY_LONGEST: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// A connection that nobody used for longer is closed. Longer than a watch lasts, or there would soon be two: one with
/// the watches, one with the calls after a pause.
const POOL_IDLE: Duration = Duration::from_secs(300);
/// Connections kept for reuse where a server speaks HTTP/1.1 only.
const POOL_SIZE: usize = 16;
/// A connection over which nothing has come for this long is asked for a sign of life, and given up when there is none
/// (client-go: `HTTP2_READ_IDLE_TIMEOUT_SECONDS` and `HTTP2_PING_TIMEOUT_SECONDS`).
const PING_AFTER: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes that may be on their way over a connection and over one stream of it: one watch that is not read must not stop
/// the others.
const CONNECTION_WINDOW: u32 = 16 << 20;
const STREAM_WINDOW: u32 = 1 << 20;

/// Why a client could not be built.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The kubeconfig is missing, unreadable or wrong.
    #[error("cannot use the kubeconfig {path}: {source}")]
    Kubeconfig {
        /// Where it was looked for.
        path: String,
        /// What is wrong with it.
        #[source]
        source: Box<kube::config::KubeconfigError>,
    },
    /// Neither a kubeconfig nor the environment of a pod was found.
    #[error("no way to an API server: {0}; name a kubeconfig, or run inside a pod with a service account")]
    NotFound(#[source] Box<kube::config::InferConfigError>),
    /// The environment of a pod is incomplete.
    #[error("this pod has no usable service account: {0}")]
    InCluster(#[source] Box<kube::config::InClusterError>),
    /// Certificates or credentials cannot be used.
    #[error("cannot build a client for {server}: {source}")]
    Build {
        /// The API server's address.
        server: String,
        /// What is wrong.
        #[source]
        source: Box<kube::Error>,
    },
    /// The name to check the server's certificate against is no name.
    #[error("cannot build a client for {server}: {name:?} is no server name")]
    ServerName {
        /// The API server's address.
        server: String,
        /// What was given as its name.
        name: String,
    },
    /// A user agent must be printable ASCII.
    #[error("{0:?} cannot be a user agent")]
    UserAgent(String),
}

/// Where the API server is, who we are, and how patient a client is.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    config: Config,
    deadline: Duration,
    retries: u32,
}

impl ClientConfig {
    /// From a configuration made elsewhere; its retry policy is not used.
    pub fn from_config(config: Config) -> Self {
        Self { config, deadline: REQUEST_DEADLINE, retries: RETRIES }
    }

    /// From a kubeconfig file, optionally with another context than its current one.
    ///
    /// # Errors
    /// The file is missing or wrong, or the context is not in it.
    pub async fn from_kubeconfig(path: &Path, context: Option<&str>) -> Result<Self, ClientError> {
        let wrong =
            |source| ClientError::Kubeconfig { path: path.display().to_string(), source: Box::new(source) };
        let kubeconfig = Kubeconfig::read_from(path).map_err(wrong)?;
        let options = KubeConfigOptions { context: context.map(Into::into), ..KubeConfigOptions::default() };
        let config = Config::from_custom_kubeconfig(kubeconfig, &options).await.map_err(wrong)?;
        Ok(Self::from_config(config))
    }

    /// From the text of a kubeconfig (its current context).
    ///
    /// # Errors
    /// The text is not a usable kubeconfig.
    pub async fn from_yaml(yaml: &str) -> Result<Self, ClientError> {
        let wrong =
            |source| ClientError::Kubeconfig { path: "given as text".into(), source: Box::new(source) };
        let kubeconfig = Kubeconfig::from_yaml(yaml).map_err(wrong)?;
        let config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.map_err(wrong)?;
        Ok(Self::from_config(config))
    }

    /// From the service account of the pod this process runs in.
    ///
    /// # Errors
    /// Not in a pod, or the pod has no service account.
    pub fn in_cluster() -> Result<Self, ClientError> {
        Config::incluster().map(Self::from_config).map_err(|source| ClientError::InCluster(Box::new(source)))
    }

    /// The usual order: `$KUBECONFIG` or `~/.kube/config`, else the pod's service account.
    ///
    /// # Errors
    /// None of them is there.
    pub async fn infer() -> Result<Self, ClientError> {
        Config::infer().await.map(Self::from_config).map_err(|source| ClientError::NotFound(Box::new(source)))
    }

    /// The server name to check the certificate against, when the address is not in it.
    #[must_use]
    pub fn tls_server_name(mut self, name: impl Into<String>) -> Self {
        self.config.tls_server_name = Some(name.into());
        self
    }

    /// Deadline of one request (not of watches); 30 s if not set.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How often a call is repeated after 429, 503 or 504; 3 if not set, 0 turns it off.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.retries = retries;
        self
    }

    /// Address of the API server.
    pub fn server(&self) -> String {
        self.config.cluster_url.to_string()
    }

    /// The underlying configuration, for reading.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Builds the client. `user_agent` names the part of the product: `skep-operator`, `skep-gateway`, …
    ///
    /// Must be called inside a Tokio runtime. The client is cheap to clone: one per process is enough.
    ///
    /// # Errors
    /// Certificates or credentials cannot be used.
    pub fn build(self, user_agent: &str) -> Result<Client, ClientError> {
        self.build_with_layer(user_agent, &tower::layer::util::Identity::new())
    }

    /// As [`ClientConfig::build`], with one more layer around everything, retries included.
    ///
    /// Tests use it to count and break calls as the caller sees them.
    ///
    /// # Errors
    /// Certificates or credentials cannot be used.
    pub fn build_with_layer<L>(mut self, user_agent: &str, layer: &L) -> Result<Client, ClientError>
    where
        L: Layer<ClientStack>,
        L::Service: Service<Request<Body>, Response = Response<ResponseBody>> + Send + 'static,
        <L::Service as Service<Request<Body>>>::Future: Send + 'static,
        <L::Service as Service<Request<Body>>>::Error: Into<BoxError>,
    {
        let agent = format!("{user_agent}/{}", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_str(&agent).map_err(|_| ClientError::UserAgent(agent))?;
        self.config.headers.push((USER_AGENT, agent));
        self.config.connect_timeout = Some(CONNECT_TIMEOUT);
        self.config.default_retry = false;
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            // Losing the race means that somebody else has set it.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let server = self.server();
        let namespace = self.config.default_namespace.clone();
        let wrong = |source| ClientError::Build { server: server.clone(), source: Box::new(source) };

        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_nodelay(true);
        http.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let tls = self.config.rustls_client_config().map_err(wrong)?;
        let mut https = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http();
        if let Some(name) = &self.config.tls_server_name {
            let name = ServerName::try_from(name.clone())
                .map_err(|_| ClientError::ServerName { server: server.clone(), name: name.clone() })?;
            https = https.with_server_name_resolver(FixedServerNameResolver::new(name));
        }
        let transport = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .pool_max_idle_per_host(POOL_SIZE)
            .http2_keep_alive_interval(PING_AFTER)
            .http2_keep_alive_timeout(PING_TIMEOUT)
            .http2_keep_alive_while_idle(true)
            .http2_initial_connection_window_size(CONNECTION_WINDOW)
            .http2_initial_stream_window_size(STREAM_WINDOW)
            .build(https.enable_all_versions().wrap_connector(http));

        let retry = RetryPolicy::new(RETRY_FIRST, RETRY_LONGEST, self.retries, true).unwrap_or_default();
        let stack = ServiceBuilder::new()
            .option_layer((self.retries > 0).then(|| RetryLayer::new(retry)))
            .map_err(BoxError::from)
            .layer(DeadlineLayer::new(self.deadline))
            .layer(self.config.base_uri_layer())
            .option_layer(self.config.auth_layer().map_err(wrong)?)
            .layer(self.config.extra_headers_layer().map_err(wrong)?)
            .map_err(BoxError::from)
            .service(transport);
        Ok(Client::new(layer.layer(BoxCloneService::new(stack)), namespace))
    }
}

/// The finished transport below the layer given to [`ClientConfig::build_with_layer`].
pub type ClientStack = BoxCloneService<Request<Body>, Response<ResponseBody>, BoxError>;

/// Body of an answer: complete for ordinary calls, a stream for watches, logs and upgrades.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;
