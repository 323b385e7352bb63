//! TLS for probes: no verification (a probe asks whether the server answers, not who it is), one remembered session per
//! probe, so that a try costs the server no signature, and no key exchange against quantum computers, the dearest part
//! of a handshake: there is no secret in a probe.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::CryptoProvider;
use rustls::crypto::aws_lc_rs::{self, kx_group};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, NamedGroup, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
    let all = aws_lc_rs::default_provider();
    let kx_groups = vec![kx_group::X25519, kx_group::SECP256R1, kx_group::SECP384R1];
    Arc::new(CryptoProvider { kx_groups, ..all })
});
static ANYBODY: LazyLock<Arc<Anybody>> = LazyLock::new(|| Arc::new(Anybody));

/// A client with the memory of one session.
#[derive(Debug, Default)]
pub(super) struct Client {
    config: OnceLock<Arc<ClientConfig>>,
}

impl Client {
    pub(super) async fn connect(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> Result<TlsStream<TcpStream>, String> {
        let name = match host.parse::<IpAddr>() {
            Ok(address) => ServerName::IpAddress(address.into()),
            Err(_) => ServerName::try_from(host.to_owned()).map_err(|e| e.to_string())?,
        };
        let config = match self.config.get() {
            Some(config) => config.clone(),
            None => {
                let new = Arc::new(config().map_err(|e| e.to_string())?);
                self.config.get_or_init(|| new).clone()
            }
        };
        TlsConnector::from(config).connect(name, stream).await.map_err(|e| format!("remote error: tls: {e}"))
    }
}

fn config() -> Result<ClientConfig, Error> {
    let mut config = ClientConfig::builder_with_provider(PROVIDER.clone())
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(ANYBODY.clone())
        .with_no_client_auth();
    config.resumption = Resumption::store(Arc::new(LastSession::default()));
    // Probes send and receive a few hundred bytes.
    config.max_fragment_size = None;
    Ok(config)
}

/// Remembers what the last handshake gave; a server always gives a new ticket for a used one.
#[derive(Debug, Default)]
struct LastSession(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    group: Option<NamedGroup>,
    old: Option<Tls12ClientSessionValue>,
    ticket: Option<Tls13ClientSessionValue>,
}

impl LastSession {
    fn with<T>(&self, work: impl FnOnce(&mut Remembered) -> T) -> T {
        work(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientSessionStore for LastSession {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|r| r.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|r| r.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|r| r.old = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(|r| r.old.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|r| r.old = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(|r| r.ticket = Some(value));
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|r| r.ticket.take())
    }
}

/// Accepts every certificate.
#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        PROVIDER.signature_verification_algorithms.supported_schemes()
    }
}
