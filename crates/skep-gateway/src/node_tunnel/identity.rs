//! What the gateway shows for a tenant's tunnels, and whom it believes there.

mod peer;
mod verifier;

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::ByteString;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use skep_agent::tunnel::wire::ALPN;
use skep_plan::egress::tunnel;

pub(super) use peer::Peer;
use verifier::Possession;

/// Files of a Secret, by key.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct IdentityFiles(BTreeMap<String, Vec<u8>>);

impl IdentityFiles {
    /// These files.
    pub fn new(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Self {
        Self(files.into_iter().collect())
    }

    fn get(&self, key: &'static str) -> Result<&[u8], IdentityError> {
        self.0.get(key).map(Vec::as_slice).ok_or(IdentityError::Lacks { key })
    }
}

impl From<BTreeMap<String, ByteString>> for IdentityFiles {
    fn from(data: BTreeMap<String, ByteString>) -> Self {
        Self::new(data.into_iter().map(|(key, bytes)| (key, bytes.0)))
    }
}

impl std::fmt::Debug for IdentityFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

/// Why there is no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The Secret does not exist.
    #[error("Secret {0} does not exist; the operator makes it")]
    Missing(String),
    /// The Secret could not be read.
    #[error("Secret {object} cannot be read: {reason}; the gateway's role must allow `get` on it by name")]
    Unreadable {
        /// Namespace and name.
        object: String,
        /// What the cell said.
        reason: String,
    },
    /// A key is missing.
    #[error("it lacks {key}")]
    Lacks {
        /// The key.
        key: &'static str,
    },
    /// A key does not hold what it should.
    #[error("{key} cannot be used: {reason}")]
    Unusable {
        /// The key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// Who came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// An API server of the tenant.
    ApiServer,
    /// The agent of this node.
    Agent {
        /// Name of the node.
        node: String,
        /// When its certificate ends, seconds since 1970.
        until: i64,
    },
}

/// A tenant's identity.
#[derive(Debug)]
pub(super) struct Identity {
    server: Arc<ServerConfig>,
    agents: Arc<dyn ClientCertVerifier>,
    api_servers: Arc<dyn ClientCertVerifier>,
}

impl Identity {
    pub(super) fn new(files: &IdentityFiles) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let agents = roots(files, tunnel::AGENT_AUTHORITIES)?;
        let api_servers = roots(files, tunnel::API_SERVER_AUTHORITIES)?;
        let mut both = agents.clone();
        both.roots.extend(api_servers.roots.iter().cloned());
        // Nobody else gets past the handshake; which of the two somebody is, is decided behind it.
        let door_keeper = verifier(both, &provider, tunnel::AGENT_AUTHORITIES)?;
        Ok(Self {
            server: server_config(files, door_keeper, &provider, &[ALPN])?,
            agents: verifier(agents, &provider, tunnel::AGENT_AUTHORITIES)?,
            api_servers: verifier(api_servers, &provider, tunnel::API_SERVER_AUTHORITIES)?,
        })
    }

    /// How TLS is spoken under the tenant's names.
    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Who somebody with this certificate is, whose key was proven in a handshake; nothing if it is nobody of this tenant
    /// who has business here.
    pub(super) fn role(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Option<Role> {
        let (leaf, intermediates) = chain.split_first()?;
        let signed =
            |by: &Arc<dyn ClientCertVerifier>| by.verify_client_cert(leaf, intermediates, now).is_ok();
        if signed(&self.api_servers) {
            return Some(Role::ApiServer);
        }
        if !signed(&self.agents) {
            return None;
        }
        let peer = Peer::read(leaf)?;
        Some(Role::Agent { node: peer.node()?.to_owned(), until: peer.until })
    }
}

/// What is shown to who cannot say whom they want.
#[derive(Debug)]
pub(super) struct Door {
    server: Arc<ServerConfig>,
    names: Vec<String>,
}

impl Door {
    pub(super) fn new(files: &IdentityFiles) -> Result<Self, IdentityError> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let possession = Arc::new(Possession::new(&provider));
        let server = server_config(files, possession, &provider, &[])?;
        let (chain, _) = pair(files)?;
        let names = chain.first().and_then(|leaf| Peer::read(leaf)).map(|peer| peer.dns_names);
        Ok(Self { server, names: names.unwrap_or_default() })
    }

    pub(super) fn server(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.server)
    }

    /// Names under which API servers dial the gateway, if they dial a name.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }
}

fn server_config(
    files: &IdentityFiles,
    clients: Arc<dyn ClientCertVerifier>,
    provider: &Arc<CryptoProvider>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, IdentityError> {
    let (chain, key) = pair(files)?;
    let unusable = |error: rustls::Error| IdentityError::Unusable {
        key: tunnel::SERVER_CERT,
        reason: error.to_string(),
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(unusable)?
        .with_client_cert_verifier(clients)
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // A resumed session would stand for a certificate that nobody looks at again.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

type Chain = Vec<CertificateDer<'static>>;

fn pair(files: &IdentityFiles) -> Result<(Chain, PrivateKeyDer<'static>), IdentityError> {
    let chain = certificates(files, tunnel::SERVER_CERT)?;
    let key = PrivateKeyDer::from_pem_slice(files.get(tunnel::SERVER_KEY)?)
        .map_err(|error| IdentityError::Unusable { key: tunnel::SERVER_KEY, reason: error.to_string() })?;
    Ok((chain, key))
}

fn certificates(files: &IdentityFiles, key: &'static str) -> Result<Chain, IdentityError> {
    let unusable = |reason: String| IdentityError::Unusable { key, reason };
    let found = CertificateDer::pem_slice_iter(files.get(key)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    if found.is_empty() { Err(unusable("there is no certificate in it".into())) } else { Ok(found) }
}

fn roots(files: &IdentityFiles, key: &'static str) -> Result<RootCertStore, IdentityError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(files, key)? {
        let unusable = |error: rustls::Error| IdentityError::Unusable { key, reason: error.to_string() };
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

fn verifier(
    roots: RootCertStore,
    provider: &Arc<CryptoProvider>,
    key: &'static str,
) -> Result<Arc<dyn ClientCertVerifier>, IdentityError> {
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| IdentityError::Unusable { key, reason: error.to_string() })
}

#[cfg(test)]
mod tests;
