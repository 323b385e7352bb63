//! Both sides of the tunnel: authorities and Secrets of tenants, real agents, and API servers that ask as upstream does.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use jiff::Timestamp;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use skep_agent::tunnel::wire::Refusal;
use skep_agent::tunnel::{Dial, Outcome, Settings, Target, serve};
use skep_gateway::config::Config;
use skep_gateway::node_tunnel::{Identities, IdentityError, IdentityFiles};
use skep_pki::{Authority, KeyPair, Leaf};
use skep_plan::egress::tunnel;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::cell::{Cell, host, until};

pub const DAY: Duration = Duration::from_secs(86_400);
/// Where the API servers of these tests believe a kubelet to be.
pub const KUBELET: &str = "10.1.2.3:10250";

/// A tenant's authorities.
pub struct Tenancy {
    pub id: String,
    pub cluster: Authority,
    pub tunnel: Authority,
}

impl Tenancy {
    pub fn new(id: &str) -> Self {
        let make = |kind: &str| Authority::generate(&format!("{id} {kind}"), DAY, Timestamp::now()).unwrap();
        Self { id: id.to_owned(), cluster: make("cluster-ca"), tunnel: make("tunnel-ca") }
    }

    /// What the operator writes into the tenant's Secret.
    pub fn files(&self) -> IdentityFiles {
        let server = Leaf::server("tunnel", DAY)
            .dns(tunnel::server_name(&self.id))
            .dns(tunnel::server_name(&host(&self.id)));
        files(&issue(&self.cluster, &server), Some((self.cluster.cert_pem(), self.tunnel.cert_pem())))
    }

    /// What an API server of the tenant shows.
    pub fn api_server(&self) -> KeyPair {
        issue(&self.tunnel, &Leaf::client("kube-apiserver", DAY).organization(&self.id))
    }

    /// What a kubelet of the tenant shows.
    pub fn kubelet(&self, node: &str) -> KeyPair {
        issue(&self.cluster, &Leaf::client(format!("system:node:{node}"), DAY).organization("system:nodes"))
    }
}

pub fn issue(authority: &Authority, leaf: &Leaf) -> KeyPair {
    authority.issue(leaf, Timestamp::now()).unwrap()
}

/// A Secret with this serving certificate and these authorities of agents and API servers.
pub fn files(server: &KeyPair, authorities: Option<(&str, &str)>) -> IdentityFiles {
    let mut files = vec![
        (tunnel::SERVER_CERT.to_owned(), server.cert_pem.clone().into_bytes()),
        (tunnel::SERVER_KEY.to_owned(), server.key_pem.as_bytes().to_vec()),
    ];
    if let Some((agents, api_servers)) = authorities {
        files.push((tunnel::AGENT_AUTHORITIES.to_owned(), agents.as_bytes().to_vec()));
        files.push((tunnel::API_SERVER_AUTHORITIES.to_owned(), api_servers.as_bytes().to_vec()));
    }
    IdentityFiles::new(files)
}

/// Secrets in memory; namespaces are tenants' ids.
#[derive(Default)]
pub struct Secrets {
    tenants: Mutex<HashMap<String, IdentityFiles>>,
    door: Mutex<Option<IdentityFiles>>,
}

impl Secrets {
    pub fn put(&self, tenancy: &Tenancy) {
        self.tenants.lock().unwrap().insert(tenancy.id.clone(), tenancy.files());
    }

    pub fn put_door(&self, files: IdentityFiles) {
        *self.door.lock().unwrap() = Some(files);
    }
}

impl Identities for Secrets {
    fn of_tenant<'a>(&'a self, namespace: &'a str) -> BoxFuture<'a, Result<IdentityFiles, IdentityError>> {
        let found = self.tenants.lock().unwrap().get(namespace).cloned();
        Box::pin(async move { found.ok_or_else(|| IdentityError::Missing(namespace.to_owned())) })
    }

    fn of_door(&self) -> BoxFuture<'_, Result<Option<IdentityFiles>, IdentityError>> {
        let found = self.door.lock().unwrap().clone();
        Box::pin(async { Ok(found) })
    }
}

/// A gateway with tunnels, and tenants of this name.
pub fn cell(
    tenants: &[&str],
    change: impl FnOnce(&mut Config),
) -> (Cell, Arc<Secrets>, HashMap<String, Tenancy>) {
    let secrets = Arc::new(Secrets::default());
    let cell = Cell::with_tunnels(secrets.clone(), |config| {
        // As one that runs for a while.
        config.tunnel.settle = Duration::ZERO;
        change(config);
    });
    let tenancies = tenants.iter().map(|id| {
        let tenancy = Tenancy::new(id);
        secrets.put(&tenancy);
        cell.tenant(id);
        ((*id).to_owned(), tenancy)
    });
    let tenancies = tenancies.collect();
    (cell, secrets, tenancies)
}

/// What an agent finds where.
#[derive(Clone)]
pub enum Place {
    At(SocketAddr),
    Refuses(Refusal),
    Silent,
}

/// A network in which everything is where the test says, and nothing else is.
#[derive(Default)]
pub struct Network {
    places: Mutex<HashMap<String, Place>>,
    dials: AtomicUsize,
}

impl Network {
    pub fn of(places: &[(&str, Place)]) -> Arc<Self> {
        let network = Self::default();
        places.iter().for_each(|(name, place)| network.put(name, place.clone()));
        Arc::new(network)
    }

    pub fn put(&self, target: &str, place: Place) {
        self.places.lock().unwrap().insert(target.to_owned(), place);
    }

    pub fn dials(&self) -> usize {
        self.dials.load(Ordering::SeqCst)
    }
}

impl Dial for Network {
    fn dial<'a>(&'a self, target: &'a Target) -> BoxFuture<'a, Outcome> {
        self.dials.fetch_add(1, Ordering::SeqCst);
        let place = self.places.lock().unwrap().get(&target.to_string()).cloned();
        Box::pin(async move {
            match place {
                Some(Place::At(address)) => Ok(TcpStream::connect(address).await.unwrap()),
                Some(Place::Refuses(refusal)) => Err((refusal, format!("{target} says no"))),
                Some(Place::Silent) => std::future::pending().await,
                None => Err((Refusal::Unreachable, format!("no way to {target}"))),
            }
        })
    }
}

/// A running agent.
pub struct Agent {
    pub settings: Settings,
    pub shutdown: CancellationToken,
    task: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// How an agent is to be.
pub struct AgentOf<'a> {
    pub tenancy: &'a Tenancy,
    pub node: &'a str,
    pub addresses: &'a [&'a str],
    pub network: Arc<Network>,
}

impl AgentOf<'_> {
    pub fn settings(&self, gateway: SocketAddr, credentials: PathBuf) -> Settings {
        let mut settings = Settings::to(
            gateway.to_string(),
            tunnel::server_name(&host(&self.tenancy.id)),
            self.tenancy.cluster.cert_pem(),
            self.node,
            self.addresses.iter().map(|address| address.parse().unwrap()).collect(),
            credentials,
        );
        settings.dial = self.network.clone();
        settings
    }

    /// Starts it.
    pub fn start(&self, gateway: SocketAddr) -> Agent {
        self.start_as(gateway, &self.tenancy.kubelet(self.node), |_| ())
    }

    /// Starts it with another certificate, or otherwise changed.
    pub fn start_as(&self, gateway: SocketAddr, pair: &KeyPair, change: impl FnOnce(&mut Settings)) -> Agent {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubelet-client-current.pem");
        std::fs::write(&path, format!("{}{}", pair.cert_pem, pair.key_pem.as_str())).unwrap();
        let mut settings = self.settings(gateway, path);
        change(&mut settings);
        let shutdown = CancellationToken::new();
        let task = tokio::spawn(serve(settings.clone(), shutdown.clone()));
        Agent { settings, shutdown, task, _directory: directory }
    }

    /// Starts it and waits until the gateway has it.
    pub async fn connect(&self, cell: &Cell) -> Agent {
        let before = cell.metrics.tunnel_agents();
        let agent = self.start(cell.address);
        until(|| cell.metrics.tunnel_agents() > before).await;
        agent
    }
}

impl Agent {
    /// Ends it without a word, as a machine that loses its power, but for the kernel that closes its sockets.
    pub fn kill(&self) {
        self.task.abort();
    }

    pub async fn ended(mut self) {
        crate::cell::within(&mut self.task).await.unwrap();
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A TLS client that shows this and believes these authorities.
pub fn client(authorities: &[&Authority], shows: Option<&KeyPair>, protocols: &[&[u8]]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(CertificateDer::from_pem_slice(authority.cert_pem().as_bytes()).unwrap()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shows {
        None => builder.with_no_client_auth(),
        Some(pair) => {
            let chain = vec![CertificateDer::from_pem_slice(pair.cert_pem.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(pair.key_pem.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Arc::new(config)
}

pub type Tls = TlsStream<TcpStream>;

/// A connection that asks for this server name (or, given an address, for none).
pub async fn knock(gateway: SocketAddr, name: &str, config: &Arc<ClientConfig>) -> io::Result<Tls> {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(config.clone()).connect(name, TcpStream::connect(gateway).await?).await
}

/// An API server of a tenant, as upstream dials.
pub struct ApiServer {
    gateway: SocketAddr,
    name: String,
    config: Arc<ClientConfig>,
}

impl ApiServer {
    pub fn of(tenancy: &Tenancy, cell: &Cell) -> Self {
        let config = client(&[&tenancy.cluster], Some(&tenancy.api_server()), &[]);
        Self { gateway: cell.address, name: tunnel::server_name(&tenancy.id), config }
    }

    /// Asks for a connection; gives the status line, and the connection if it was made.
    pub async fn dial(&self, target: &str) -> io::Result<(String, Tls)> {
        let mut tls = knock(self.gateway, &self.name, &self.config).await?;
        let status = connect(&mut tls, target).await?;
        Ok((status, tls))
    }

    /// A connection that has to be made.
    pub async fn reach(&self, target: &str) -> Tls {
        let (status, tls) = self.dial(target).await.unwrap();
        assert_eq!(status, "HTTP/1.1 200 Connection established");
        tls
    }

    /// The status line of one that has to be refused.
    pub async fn refused(&self, target: &str) -> String {
        let (status, mut tls) = self.dial(target).await.unwrap();
        let mut rest = Vec::new();
        tls.read_to_end(&mut rest).await.unwrap();
        status
    }
}

/// What upstream writes; the status line of the answer. Not a byte behind its head is read.
pub async fn connect(tls: &mut Tls, target: &str) -> io::Result<String> {
    tls.write_all(format!("CONNECT {target} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(tls.read_u8().await?);
    }
    Ok(String::from_utf8(head).unwrap().lines().next().unwrap_or_default().to_owned())
}

/// Says its name to everybody, repeats what it hears, and ends when its client does.
pub async fn echo(name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                write.write_all(name.as_bytes()).await?;
                tokio::io::copy(&mut read, &mut write).await?;
                write.shutdown().await
            });
        }
    });
    address
}
