//! The Secrets, written as [`crate::secrets`] reads them.

use k8s_openapi::api::core::v1::Secret;

use super::super::certificates::Certificates;
use super::super::validate::Wanted;
use crate::secrets::{CA, CERT, KEY, PEER_CA, PEER_CERT, PEER_KEY, Side, ca_name, root_name, server_name};

/// Both authorities with their keys.
pub(super) fn authorities(wanted: &Wanted, c: &Certificates, server_ca: &str, client_ca: &str) -> Secret {
    secret(
        wanted,
        ca_name(&wanted.name),
        "Opaque",
        &[
            (Side::Server.cert_key(), server_ca),
            (Side::Server.key_key(), c.server_ca.keys_pem().as_str()),
            (Side::Client.cert_key(), client_ca),
            (Side::Client.key_key(), c.client_ca.keys_pem().as_str()),
        ],
    )
}

/// What etcd mounts.
pub(super) fn server(wanted: &Wanted, c: &Certificates, server_ca: &str, client_ca: &str) -> Secret {
    secret(
        wanted,
        server_name(&wanted.name),
        "kubernetes.io/tls",
        &[
            (CERT, &c.server.cert_pem),
            (KEY, c.server.key_pem.as_str()),
            (CA, client_ca),
            (PEER_CERT, &c.peer.cert_pem),
            (PEER_KEY, c.peer.key_pem.as_str()),
            (PEER_CA, server_ca),
        ],
    )
}

/// The operator's client certificate.
pub(super) fn root(wanted: &Wanted, c: &Certificates, server_ca: &str) -> Secret {
    secret(
        wanted,
        root_name(&wanted.name),
        "kubernetes.io/tls",
        &[(CERT, &c.root.cert_pem), (KEY, c.root.key_pem.as_str()), (CA, server_ca)],
    )
}

fn secret(wanted: &Wanted, name: String, kind: &str, data: &[(&str, &str)]) -> Secret {
    let bytes = |text: &str| k8s_openapi::ByteString(text.as_bytes().to_vec());
    Secret {
        metadata: wanted.meta(name),
        type_: Some(kind.to_owned()),
        data: Some(data.iter().map(|(k, v)| ((*k).to_owned(), bytes(v))).collect()),
        ..Secret::default()
    }
}
