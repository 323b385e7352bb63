//! The Secrets of a datastore: their names, their keys, and reading them back.
//!
//! | Secret | holds | read by |
//! |---|---|---|
//! | `<ds>-ca` | both authorities with their keys | operator |
//! | `<ds>-server` | the member's certificates, and whom it trusts | etcd |
//! | `<ds>-root` | the client certificate of etcd's user root | operator |

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use skep_pki::{Authority, Generations, KeyPair};

/// Keys of a Secret with one certificate, as Kubernetes names them for TLS.
pub(crate) const CERT: &str = "tls.crt";
/// Private key of [`CERT`].
pub(crate) const KEY: &str = "tls.key";
/// Whom the owner of [`CERT`] trusts.
pub(crate) const CA: &str = "ca.crt";
/// The certificate members show each other.
pub(crate) const PEER_CERT: &str = "peer.crt";
/// Private key of [`PEER_CERT`].
pub(crate) const PEER_KEY: &str = "peer.key";
/// Whom members trust among themselves.
pub(crate) const PEER_CA: &str = "peer-ca.crt";

/// One of a datastore's two authorities. They are apart so that no client can pose as a member and no member as a
/// client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Signs what members show to clients and to each other.
    Server,
    /// Signs what clients show to members: its common name is the etcd user.
    Client,
}

impl Side {
    /// Key of the certificates in `<ds>-ca`.
    pub(crate) fn cert_key(self) -> &'static str {
        match self {
            Side::Server => "server-ca.crt",
            Side::Client => "client-ca.crt",
        }
    }

    /// Key of the private keys in `<ds>-ca`.
    pub(crate) fn key_key(self) -> &'static str {
        match self {
            Side::Server => "server-ca.key",
            Side::Client => "client-ca.key",
        }
    }

    /// The stored generations; none when they are missing or damaged, so that new ones are made.
    pub(crate) fn read(self, ca: Option<&Secret>) -> Vec<Authority> {
        let certs = ca.and_then(|s| text(s, self.cert_key()));
        let keys = ca.and_then(|s| text(s, self.key_key()));
        match (certs, keys) {
            (Some(certs), Some(keys)) => Generations::read(certs, keys).unwrap_or_default(),
            _ => Vec::new(),
        }
    }
}

/// Name of the Secret with the authorities.
pub(crate) fn ca_name(datastore: &str) -> String {
    format!("{datastore}-ca")
}

/// Name of the Secret that etcd mounts.
pub(crate) fn server_name(datastore: &str) -> String {
    format!("{datastore}-server")
}

/// Name of the Secret with the operator's client certificate.
pub(crate) fn root_name(datastore: &str) -> String {
    format!("{datastore}-root")
}

/// A text of a Secret; `None` when it is missing, empty or no text.
pub(crate) fn text<'a>(secret: &'a Secret, key: &str) -> Option<&'a str> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
    std::str::from_utf8(bytes).ok().filter(|t| !t.is_empty())
}

/// A certificate with its key.
pub(crate) fn pair(secret: Option<&Secret>, cert: &str, key: &str) -> Option<KeyPair> {
    let secret = secret?;
    Some(KeyPair { cert_pem: text(secret, cert)?.to_owned(), key_pem: text(secret, key)?.into() })
}
