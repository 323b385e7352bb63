//! TLS of the endpoint: a server certificate that can be replaced while running, client certificates required.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};

/// Why the given certificates cannot be used. Never holds key material.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A text is not PEM or has no entry of the kind.
    #[error("SKEP-7004: the kubelet endpoint's {0} is not usable PEM")]
    Pem(&'static str),
    /// The authority for client certificates was refused.
    #[error("SKEP-7004: the client authority of the kubelet endpoint is not usable: {0}")]
    Authority(String),
    /// Certificate and key were refused.
    #[error("SKEP-7004: certificate and key of the kubelet endpoint do not go together: {0}")]
    KeyPair(#[from] rustls::Error),
}

/// TLS of one or more endpoints; new connections use what was set last.
pub struct KubeletTls(ArcSwap<ServerConfig>);

impl KubeletTls {
    /// From PEM texts: the server's certificate chain, its key, and the authorities whose client certificates count.
    ///
    /// # Errors
    /// [`TlsError`] when one of them cannot be used.
    pub fn from_pem(certificate: &str, key: &str, client_ca: &str) -> Result<Arc<Self>, TlsError> {
        Ok(Arc::new(Self(ArcSwap::new(build(certificate, key, client_ca)?))))
    }

    /// Replaces all three; connections that stand go on with what they have.
    ///
    /// # Errors
    /// [`TlsError`]; then the old ones stay.
    pub fn replace(&self, certificate: &str, key: &str, client_ca: &str) -> Result<(), TlsError> {
        self.0.store(build(certificate, key, client_ca)?);
        Ok(())
    }

    pub(super) fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

fn build(certificate: &str, key: &str, client_ca: &str) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate, "certificate")?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| TlsError::Pem("key"))?;
    let mut roots = RootCertStore::empty();
    for authority in certificates(client_ca, "client authority")? {
        roots.add(authority).map_err(|error| TlsError::Authority(error.to_string()))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| TlsError::Authority(error.to_string()))?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    // Upgrades to SPDY and WebSocket are HTTP/1.1; offering nothing else keeps one way.
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty()).ok_or(TlsError::Pem(what))
}
