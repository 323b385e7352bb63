//! etcd of the hub: one member on loopback, TLS with client certificates.

use super::{Hub, flag, path};
use crate::{Result, pki::name, ports::Purpose};

/// Its name in its own cluster of one.
const MEMBER: &str = "hub";

pub(super) fn args(hub: &Hub) -> Result<Vec<String>> {
    let clients = format!("https://{}", hub.ports.address(Purpose::EtcdClient)?);
    let peers = format!("https://{}", hub.ports.address(Purpose::EtcdPeer)?);
    let http = format!("https://{}", hub.ports.address(Purpose::EtcdHttp)?);
    let pki = &hub.pki;
    Ok(vec![
        flag("name", MEMBER),
        path("data-dir", hub.layout.etcd()),
        flag("listen-client-urls", &clients),
        // With a port for both, gRPC goes through the HTTP server of Go's library, which costs more.
        flag("listen-client-http-urls", &http),
        flag("advertise-client-urls", &clients),
        flag("listen-peer-urls", &peers),
        flag("initial-advertise-peer-urls", &peers),
        flag("initial-cluster", format!("{MEMBER}={peers}")),
        flag("enable-grpc-gateway", "false"),
        flag("client-cert-auth", "true"),
        path("trusted-ca-file", pki.etcd_ca()),
        path("cert-file", pki.cert(name::ETCD)),
        path("key-file", pki.key(name::ETCD)),
        flag("peer-client-cert-auth", "true"),
        path("peer-trusted-ca-file", pki.etcd_ca()),
        path("peer-cert-file", pki.cert(name::ETCD)),
        path("peer-key-file", pki.key(name::ETCD)),
        // The API server compacts; without space reclaimed in time 4 GiB are far beyond what a hub needs.
        flag("quota-backend-bytes", (4_u64 << 30).to_string()),
        flag("logger", "zap"),
        flag("log-level", "warn"),
        flag("log-outputs", "stderr"),
    ])
}
