//! Certificates and TLS settings of a run.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The host that is asked for.
pub const HOST: &str = "demo-abcd2345.skep.internal";

/// Writes a self-signed certificate for [`HOST`] to `cert.pem` and `key.pem`.
pub fn generate(directory: &Path) -> Result<()> {
    let generated = rcgen::generate_simple_self_signed([HOST.to_owned()])?;
    std::fs::write(directory.join("cert.pem"), generated.cert.pem())?;
    std::fs::write(directory.join("key.pem"), generated.signing_key.serialize_pem())?;
    Ok(())
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let pem = CertificateDer::pem_file_iter(path).with_context(|| path.display().to_string())?;
    Ok(pem.collect::<Result<_, _>>()?)
}

fn key(path: &Path) -> Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).with_context(|| path.display().to_string())
}

/// Settings of the built-in backend.
pub fn server(directory: &Path) -> Result<Arc<ServerConfig>> {
    let (chain, key) = (certificates(&directory.join("cert.pem"))?, key(&directory.join("key.pem"))?);
    let mut config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, key)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// Settings of a client that speaks this protocol.
pub fn client(ca: &Path, identity: Option<(&Path, &Path)>, alpn: &[u8]) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(certificates(ca)?);
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match identity {
        Some((cert, file)) => builder.with_client_auth_cert(certificates(cert)?, key(file)?)?,
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    // Every handshake is a full one, as it is for a new client.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}
