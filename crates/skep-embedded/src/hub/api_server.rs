//! kube-apiserver of the hub.

use super::{ConfigFile, Hub, flag, path};
use crate::{Result, pki::name, ports::Purpose};

/// Service addresses: from the range for benchmarks (RFC 2544), which no network routes.
const SERVICE_RANGE: &str = "198.19.0.0/16";
/// What it would tell others as its own address: nothing uses it, and loopback is refused by upstream.
const ADVERTISED: &str = "198.18.0.1";

pub(super) fn args(hub: &Hub) -> Result<Vec<String>> {
    let address = hub.ports.address(Purpose::ApiServer)?;
    let etcd = hub.ports.address(Purpose::EtcdClient)?;
    let pki = &hub.pki;
    Ok(vec![
        flag("bind-address", address.ip().to_string()),
        flag("secure-port", address.port().to_string()),
        flag("advertise-address", ADVERTISED),
        flag("external-hostname", "localhost"),
        flag("endpoint-reconciler-type", "none"),
        path("egress-selector-config-file", egress(hub).path),
        path("tls-cert-file", pki.cert(name::API_SERVER)),
        path("tls-private-key-file", pki.key(name::API_SERVER)),
        // Who may come in, and as whom.
        flag("anonymous-auth", "false"),
        path("client-ca-file", pki.hub_ca()),
        flag("authorization-mode", "Node,RBAC"),
        flag("enable-admission-plugins", "NodeRestriction"),
        path("requestheader-client-ca-file", pki.front_proxy_ca()),
        flag("requestheader-allowed-names", "front-proxy-client"),
        flag("requestheader-extra-headers-prefix", "X-Remote-Extra-"),
        flag("requestheader-group-headers", "X-Remote-Group"),
        flag("requestheader-username-headers", "X-Remote-User"),
        path("proxy-client-cert-file", pki.cert(name::FRONT_PROXY)),
        path("proxy-client-key-file", pki.key(name::FRONT_PROXY)),
        flag("service-account-issuer", "https://hub.skep.internal"),
        path("service-account-key-file", pki.service_account_public()),
        path("service-account-signing-key-file", pki.service_account_key()),
        flag("service-cluster-ip-range", SERVICE_RANGE),
        // Where its data is.
        flag("etcd-servers", format!("https://{etcd}")),
        flag("etcd-prefix", "/registry"),
        path("etcd-cafile", pki.etcd_ca()),
        path("etcd-certfile", pki.cert(name::API_SERVER_TO_ETCD)),
        path("etcd-keyfile", pki.key(name::API_SERVER_TO_ETCD)),
        path("encryption-provider-config", pki.encryption()),
        // logs and exec on the virtual nodes; their names do not resolve.
        path("kubelet-certificate-authority", pki.nodes_ca()),
        path("kubelet-client-certificate", pki.cert(name::API_SERVER_TO_NODES)),
        path("kubelet-client-key", pki.key(name::API_SERVER_TO_NODES)),
        flag("kubelet-preferred-address-types", "InternalIP"),
        flag("profiling", "false"),
    ])
}

/// The way to nodes goes through the supervisor's proxy, which knows the virtual nodes and refuses everything else:
/// a request to a Service fails at once, no packet leaves the machine.
pub(super) fn egress(hub: &Hub) -> ConfigFile {
    let text = skep_plan::egress::through(&format!("\"{}\"", hub.node_proxy));
    ConfigFile { path: hub.config("egress.yaml"), text }
}
