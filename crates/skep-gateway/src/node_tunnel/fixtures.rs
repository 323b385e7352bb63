//! Authorities and certificates for this module's tests.

use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use skep_pki::{Authority, KeyPair, Leaf};
use skep_plan::egress::tunnel;

use super::identity::IdentityFiles;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// A tenant's authorities.
pub(super) struct Tenancy {
    id: String,
    pub(super) cluster: Authority,
    pub(super) tunnel: Authority,
}

impl Tenancy {
    pub(super) fn new(id: &str) -> Self {
        let make = |kind: &str| Authority::generate(&format!("{id} {kind}"), DAY, Timestamp::now()).unwrap();
        Self { id: id.to_owned(), cluster: make("cluster-ca"), tunnel: make("tunnel-ca") }
    }

    /// The tenant's Secret.
    pub(super) fn files(&self) -> IdentityFiles {
        let server = Leaf::server("tunnel", DAY).dns(tunnel::server_name(&self.id));
        let server = issue(&self.cluster, &server);
        IdentityFiles::new([
            (tunnel::SERVER_CERT.to_owned(), server.cert_pem.into_bytes()),
            (tunnel::SERVER_KEY.to_owned(), server.key_pem.into_string().into_bytes()),
            (tunnel::AGENT_AUTHORITIES.to_owned(), self.cluster.cert_pem().as_bytes().to_vec()),
            (tunnel::API_SERVER_AUTHORITIES.to_owned(), self.tunnel.cert_pem().as_bytes().to_vec()),
        ])
    }
}

pub(super) fn issue(authority: &Authority, leaf: &Leaf) -> KeyPair {
    authority.issue(leaf, Timestamp::now()).unwrap()
}

/// A certificate's chain as TLS gives it.
pub(super) fn chain(pair: &KeyPair) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pair.cert_pem.as_bytes()).collect::<Result<_, _>>().unwrap()
}

/// A kubelet's client certificate.
pub(super) fn kubelet(node: &str) -> Leaf {
    Leaf::client(format!("system:node:{node}"), DAY).organization("system:nodes")
}
