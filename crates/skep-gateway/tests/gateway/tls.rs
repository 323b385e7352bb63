//! Certificates and clients of the tests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, ClientConfig, RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A server's certificate for one host, and a client that trusts only that.
pub struct Identity {
    pub server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
    host: String,
}

impl Identity {
    pub fn new(host: &str) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let generated = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let certificate: CertificateDer<'static> = generated.cert.der().clone();
        let key = PrivateKeyDer::try_from(generated.signing_key.serialize_der()).unwrap();
        let server = ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key)
            .unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let client = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        Self { server: Arc::new(server), client: Arc::new(client), host: host.to_owned() }
    }

    /// A handshake over this connection.
    pub async fn handshake(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        self.handshake_as(&self.host, stream).await
    }

    /// A handshake that asks for another name.
    pub async fn handshake_as(&self, name: &str, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(name.to_owned()).unwrap();
        TlsConnector::from(self.client.clone()).connect(name, stream).await
    }

    /// A connection to the gateway and a handshake.
    pub async fn connect(&self, gateway: SocketAddr) -> io::Result<TlsStream<TcpStream>> {
        self.handshake(TcpStream::connect(gateway).await?).await
    }

    /// The bytes a client sends first.
    pub fn client_hello(&self) -> Vec<u8> {
        let name = ServerName::try_from(self.host.clone()).unwrap();
        let mut client = rustls::ClientConnection::new(self.client.clone(), name).unwrap();
        let mut bytes = Vec::new();
        client.write_tls(&mut bytes).unwrap();
        bytes
    }
}

/// The alert a failed handshake ended with.
pub fn alert<T>(result: io::Result<T>) -> AlertDescription {
    let error = result.err().expect("the handshake succeeded");
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(alert)) => *alert,
        _ => panic!("no alert but {error:?}"),
    }
}
