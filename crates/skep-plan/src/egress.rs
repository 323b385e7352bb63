//! The way of an API server into its own cluster: to nodes, and to Services of webhooks and extension API servers.
//!
//! Nothing here dials directly: whatever is meant for the inside of a cluster goes to a proxy or fails.

pub mod tunnel;

/// Egress configuration of a kube-apiserver that sends everything meant for the inside of its cluster to a proxy at a
/// unix socket, and nothing by the machine's routes. With a socket that does not exist such a call fails at once and
/// names it.
///
/// A socket, because the API server of 1.36 has a nil dereference for a TCP address without TLS
/// (`egressselector.getTLSConfig`). `socket` is a YAML scalar.
#[must_use]
pub fn through(socket: &str) -> String {
    document(&format!("      uds:\n        udsName: {socket}\n"))
}

/// The file around one transport of `cluster`. What stays in the control plane (etcd, other API servers, webhooks of
/// authentication) is dialled directly.
fn document(transport: &str) -> String {
    format!(
        "\
apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
{transport}- name: controlplane
  connection:
    proxyProtocol: Direct
- name: etcd
  connection:
    proxyProtocol: Direct
"
    )
}
