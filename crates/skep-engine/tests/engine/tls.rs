//! A release host that speaks TLS, as real ones do. Which authorities are trusted is a matter of the process
//! (`SSL_CERT_FILE`), so a process of its own fetches.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use skep_engine::ETCD;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tokio_rustls::server::TlsStream;

use crate::child;
use crate::server::Server;
use crate::support::Bed;

struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let (stream, peer) = self.listener.accept().await.unwrap();
            // A client that does not trust us hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Starts a server for `localhost`; writes its authority's certificate to `ca`. Gives the server with its URL.
async fn start(mut server: Server, ca: &Path) -> Server {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(ca, authority.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()]).unwrap().signed_by(&key, &authority).unwrap();

    let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], PrivateKeyDer::try_from(key.serialize_der()).unwrap())
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    server.url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let tls = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
    server.serve(tls);
    server
}

/// Fetches etcd from a server in another process that trusts the authority in `ca`. Gives its stderr.
async fn fetch(bed: &Bed, server: &Server, ca: &Path) -> String {
    let mut command =
        child::command(&bed.config.cache_dir, bed.config.go.as_deref(), &format!("skep.dev/etcd:{ETCD}"));
    command.env("SKEP_ENGINE_RELEASES", &server.url).env("SSL_CERT_FILE", ca).env_remove("SSL_CERT_DIR");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[tokio::test]
async fn a_trusted_server_is_used() {
    let bed = Bed::new();
    let ca = bed.dir.path().join("ca.pem");
    let server = start(Server::silent().with_etcd(ETCD).0, &ca).await;
    let said = fetch(&bed, &server, &ca).await;
    assert_eq!(server.hits().len(), 2, "{said}");
    assert!(bed.go.calls().is_empty(), "{said}");
}

#[tokio::test]
async fn an_untrusted_server_is_not() {
    let bed = Bed::new();
    let (ca, other) = (bed.dir.path().join("ca.pem"), bed.dir.path().join("other.pem"));
    let server = start(Server::silent().with_etcd(ETCD).0, &ca).await;
    start(Server::silent(), &other).await;
    let said = fetch(&bed, &server, &other).await;
    assert!(said.contains("no official release (localhost: invalid peer certificate: "), "{said}");
    assert!(server.hits().is_empty());
    assert_eq!(bed.go.calls().len(), 1);
}

#[tokio::test]
async fn without_any_authority_nobody_is_trusted() {
    let bed = Bed::new();
    let (ca, none) = (bed.dir.path().join("ca.pem"), bed.dir.path().join("none.pem"));
    let server = start(Server::silent().with_etcd(ETCD).0, &ca).await;
    std::fs::write(&none, "").unwrap();
    let said = fetch(&bed, &server, &none).await;
    assert!(said.contains("no CA certificates to check servers by"), "{said}");
    assert_eq!(bed.go.calls().len(), 1);
}
