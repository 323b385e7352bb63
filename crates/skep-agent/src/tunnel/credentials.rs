//! Who the agent says it is: the kubelet's own client certificate.
//!
//! It is read anew for every connection, because the kubelet replaces it (`kubelet-client-current.pem`, a link to a file
//! with certificate and key).

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use super::wire;

/// Longest file that is read.
const MAX_BYTES: u64 = 64 * 1024;

/// TLS towards gateways that show a certificate of these authorities.
pub(super) fn config(authorities_pem: &str, path: &Path) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(authorities_pem.as_bytes()) {
        let authority = authority.map_err(|error| format!("the cluster's authorities: {error}"))?;
        roots.add(authority).map_err(|error| format!("the cluster's authorities: {error}"))?;
    }
    let pem = read(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("no certificate in it: {error}"))?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| format!("no key in it: {error}"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)
        .map_err(|error| error.to_string())?;
    config.alpn_protocols = vec![wire::ALPN.to_vec()];
    // A resumed session would keep the identity of a certificate that was replaced.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let size = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if size > MAX_BYTES {
        return Err(format!("it has {size} bytes, which no certificate has"));
    }
    std::fs::read(path).map_err(|error| error.to_string())
}
