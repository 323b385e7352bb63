//! TLS of a server: nothing is spoken without it. Files can be replaced while it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ServerConfig, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore};

use crate::Error;

/// gRPC speaks nothing else.
const ALPN: &[u8] = b"h2";

/// Where the parts are.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients. Without it no client is asked for a certificate.
    pub client_ca: Option<PathBuf>,
}

/// The parts as PEM texts.
#[derive(Clone, PartialEq)]
pub struct Pems {
    certificate: String,
    key: String,
    client_ca: Option<String>,
}

impl Pems {
    /// From texts that are known already.
    pub(crate) fn new(certificate: String, key: String, client_ca: Option<String>) -> Self {
        Self { certificate, key, client_ca }
    }
}

impl TlsFiles {
    /// Reads all of them.
    ///
    /// # Errors
    /// One cannot be read.
    pub fn read(&self) -> Result<Pems, Error> {
        let read = |what: &'static str, path: &Path| {
            fs::read_to_string(path)
                .map_err(|error| Error::Tls { what, reason: format!("{}: {error}", path.display()) })
        };
        Ok(Pems {
            certificate: read("certificate", &self.certificate)?,
            key: read("key", &self.key)?,
            client_ca: self.client_ca.as_deref().map(|path| read("client authority", path)).transpose()?,
        })
    }
}

/// What new connections are accepted with.
pub struct Tls(ArcSwap<ServerConfig>);

impl Tls {
    /// From PEM texts.
    ///
    /// # Errors
    /// One of them cannot be used, or certificate and key do not go together.
    pub fn new(pems: &Pems) -> Result<Arc<Self>, Error> {
        Ok(Arc::new(Self(ArcSwap::new(server(pems)?))))
    }

    /// Replaces all of them; connections that stand go on with what they have.
    ///
    /// # Errors
    /// As [`Tls::new`]; then the old ones stay.
    pub fn replace(&self, pems: &Pems) -> Result<(), Error> {
        self.0.store(server(pems)?);
        Ok(())
    }

    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.0.load_full()
    }
}

/// What a server accepts with.
pub(crate) fn server(pems: &Pems) -> Result<Arc<ServerConfig>, Error> {
    let chain = certificates(&pems.certificate).ok_or_else(|| bad("certificate", "it is not PEM"))?;
    let key = key(&pems.key)?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| bad("certificate", error))?;
    let builder = match &pems.client_ca {
        Some(pem) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(roots("client authority", pem)?, provider)
                    .build()
                    .map_err(|error| bad("client authority", error))?;
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config =
        builder.with_single_cert(chain, key).map_err(|error| bad("certificate and key", error))?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    Ok(Arc::new(config))
}

/// What a client shows, and whom it believes, as PEM texts.
pub(crate) struct Client {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) authority: String,
}

impl Client {
    /// What it connects with.
    pub(crate) fn config(&self) -> Result<Arc<ClientConfig>, Error> {
        let chain = certificates(&self.certificate).ok_or_else(|| bad("certificate", "it is not PEM"))?;
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad("certificate", error))?
            .with_root_certificates(roots("server authority", &self.authority)?)
            .with_client_auth_cert(chain, key(&self.key)?)
            .map_err(|error| bad("certificate and key", error))?;
        config.alpn_protocols = vec![ALPN.to_vec()];
        Ok(Arc::new(config))
    }
}

fn bad(what: &'static str, reason: impl ToString) -> Error {
    Error::Tls { what, reason: reason.to_string() }
}

/// The parser's own words could quote the key.
fn key(pem: &str) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| bad("key", "it is not a private key in PEM"))
}

fn roots(what: &'static str, pem: &str) -> Result<Arc<RootCertStore>, Error> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(pem).ok_or_else(|| bad(what, "it is not PEM"))? {
        roots.add(authority).map_err(|error| bad(what, error))?;
    }
    Ok(Arc::new(roots))
}

fn certificates(pem: &str) -> Option<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>();
    found.ok().filter(|found| !found.is_empty())
}
