//! The tunnel: what API servers, the gateway and node agents have to agree on.
//!
//! ```text
//! kube-apiserver ──TLS, HTTP/1.1 CONNECT──► gateway ◄──TLS, HTTP/2 with reversed roles── node agent ──TCP──► kubelet, pod
//! ```
//!
//! Both ends come to the gateway's one port. It takes the tenant from the server name `tunnel.<host>` (or
//! `tunnel.<tenant id>`), shows a certificate of that tenant's own authority, and tells the two roles apart by who
//! signed the client's certificate: the tenant's tunnel authority signs its API servers and nobody else, the cluster
//! authority signs kubelets, whose certificate the agent shows.
//!
//! API servers before 1.36 cannot be told a server name (`tlsServerName` in `k8s.io/apiserver/pkg/apis/apiserver/v1beta1`
//! came with 1.36; before, `crypto/tls` sends the URL's host, or nothing for an address). They come to the *door*: the
//! gateway shows a certificate for the address they dial, and takes the tenant from the client's certificate. The door
//! goes when the last such minor does.

use serde_json::Value;
use skep_api::KubeVersion;

/// Secret in a tenant's namespace with what the gateway needs to end the tenant's tunnels.
pub const SECRET: &str = "tunnel";
/// Secret in the system namespace with the door's certificate.
pub const DOOR_SECRET: &str = "tunnel-door";
/// Key of the serving certificate, in both.
pub const SERVER_CERT: &str = "server.crt";
/// Key of its private key.
pub const SERVER_KEY: &str = "server.key";
/// Key of the authorities whose clients are node agents (kubelets of the cluster).
pub const AGENT_AUTHORITIES: &str = "agents-ca.crt";
/// Key of the authorities whose clients are the tenant's API servers.
pub const API_SERVER_AUTHORITIES: &str = "api-servers-ca.crt";

/// First label of a tunnel's server name.
const PREFIX: &str = "tunnel.";
/// First minor whose API servers can be told a server name.
const FIRST_WITH_SERVER_NAME: u64 = 36;
/// Port of a URL that names none.
const HTTPS_PORT: u16 = 443;

/// The server name of the tunnels of a tenant, given its host or its id.
#[must_use]
pub fn server_name(tenant: &str) -> String {
    format!("{PREFIX}{tenant}")
}

/// The tenant (host or id) whose tunnels have this server name; nothing if it is no tunnel's name.
#[must_use]
pub fn tenant_of(server_name: &str) -> Option<&str> {
    server_name.strip_prefix(PREFIX).filter(|tenant| !tenant.is_empty())
}

/// Whether API servers of this version can be told a server name. Those that cannot refuse a file that has one, and
/// come through the door.
#[must_use]
pub fn knows_server_names(version: &KubeVersion) -> bool {
    version.minor() >= FIRST_WITH_SERVER_NAME
}

/// How an API server reaches the tunnel.
#[derive(Clone, Copy, Debug)]
pub struct Way<'a> {
    /// URL of the gateway.
    pub gateway: &'a str,
    /// What the gateway is asked for; nothing for API servers that cannot say it.
    pub server_name: Option<&'a str>,
    /// File with the authorities of the gateway's certificate.
    pub authorities: &'a str,
    /// File with the client certificate.
    pub cert: &'a str,
    /// File with its key.
    pub key: &'a str,
}

/// Egress configuration of an API server that reaches the inside of its cluster through the tunnel, and nothing by the
/// machine's routes.
///
/// Upstream reads this file and the files it names once, at the start (`egressselector.NewEgressSelector`): a change of
/// any of them takes a new process.
#[must_use]
pub fn through(way: &Way<'_>) -> String {
    // JSON strings are YAML scalars.
    let text = |text: &str| Value::from(text).to_string();
    let name = way.server_name.map(|name| format!("          tlsServerName: {}\n", text(name)));
    super::document(&format!(
        "      tcp:
        url: {url}
        tlsConfig:
          caBundle: {authorities}
          clientCert: {cert}
          clientKey: {key}
{name}",
        url = text(&format!("https://{}", authority(way.gateway))),
        authorities = text(way.authorities),
        cert = text(way.cert),
        key = text(way.key),
        name = name.unwrap_or_default(),
    ))
}

/// Host and port of a URL like `https://gateway:6443/`; the port is always there, because upstream dials what it is
/// given.
#[must_use]
pub fn authority(url: &str) -> String {
    let (host, port) = split(url);
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!("{host}:{}", port.unwrap_or(HTTPS_PORT))
}

/// Host of a URL, an IPv6 address without its brackets: what a certificate shown there has to name.
#[must_use]
pub fn host(url: &str) -> &str {
    split(url).0
}

fn split(url: &str) -> (&str, Option<u16>) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if let Some((host, rest)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return (host, rest.strip_prefix(':').and_then(|port| port.parse().ok()));
    }
    match authority.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse().ok()),
        _ => (authority, None),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn way<'a>(server_name: Option<&'a str>) -> Way<'a> {
        Way {
            gateway: "https://127.0.0.1:6443",
            server_name,
            authorities: "/pki/ca.crt",
            cert: "/pki/tunnel-client.crt",
            key: "/pki/tunnel-client.key",
        }
    }

    #[test]
    fn by_name() {
        insta::assert_snapshot!(through(&way(Some("tunnel.demo-abcd2345"))));
    }

    #[test]
    fn without_a_name_there_is_no_such_field() {
        let (with, without) = (through(&way(Some("x"))), through(&way(None)));
        assert_eq!(with.replace("          tlsServerName: \"x\"\n", ""), without);
    }

    #[test]
    fn the_inside_of_a_cluster_is_never_dialled_directly() {
        for text in [through(&way(None)), through(&way(Some("x"))), super::super::through("/nowhere")] {
            let (_, cluster) = text.split_once("- name: cluster").unwrap();
            let (cluster, _) = cluster.split_once("- name: controlplane").unwrap();
            assert!(cluster.contains("HTTPConnect") && !cluster.contains("Direct"), "{text}");
        }
    }

    #[test]
    fn server_names_lead_back_to_their_tenant() {
        assert_eq!(tenant_of(&server_name("demo-k3x.skep.internal")), Some("demo-k3x.skep.internal"));
        for other in ["demo-k3x.skep.internal", "tunnel.", "tunnel", "", "tunnels.a"] {
            assert_eq!(tenant_of(other), None, "{other}");
        }
    }

    #[test]
    fn only_newer_minors_are_told_a_name() {
        let knows = |version: &str| knows_server_names(&version.parse().unwrap());
        assert!(knows("v1.36.0") && knows("v1.40.1"));
        assert!(!knows("v1.35.4") && !knows("v1.34.99"));
    }

    #[test]
    fn urls_are_taken_apart() {
        for (url, whole, bare) in [
            ("https://127.0.0.1:6443", "127.0.0.1:6443", "127.0.0.1"),
            ("https://gateway.skep-system.svc/", "gateway.skep-system.svc:443", "gateway.skep-system.svc"),
            ("https://[2001:db8::1]:7443/x", "[2001:db8::1]:7443", "2001:db8::1"),
            ("https://[2001:db8::1]", "[2001:db8::1]:443", "2001:db8::1"),
            ("gateway:1", "gateway:1", "gateway"),
        ] {
            assert_eq!((authority(url).as_str(), host(url)), (whole, bare), "{url}");
        }
    }

    proptest! {
        #[test]
        fn whatever_the_url_the_file_has_one_line_for_it(url in ".{0,60}") {
            let text = through(&Way { gateway: &url, ..way(None) });
            prop_assert_eq!(text.lines().filter(|line| line.trim_start().starts_with("url: \"https://")).count(), 1);
            prop_assert_eq!(text.lines().count(), through(&way(None)).lines().count());
        }
    }
}
