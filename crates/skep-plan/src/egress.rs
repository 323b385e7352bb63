//! The way of an API server into its own cluster: to nodes, and to Services of webhooks and extension API servers.

/// Egress configuration of a kube-apiserver that sends everything meant for the inside of its cluster to a proxy at a
/// unix socket, and nothing by the machine's routes. With a socket that does not exist such a call fails at once and
/// names it.
///
/// A socket, because the API server of 1.36 has a nil dereference for a TCP address without TLS
/// (`egressselector.getTLSConfig`). `socket` is a YAML scalar.
#[must_use]
pub fn through(socket: &str) -> String {
    format!(
        "\
apiVersion: apiserver.k8s.io/v1beta1
kind: EgressSelectorConfiguration
egressSelections:
- name: cluster
  connection:
    proxyProtocol: HTTPConnect
    transport:
      uds:
        udsName: {socket}
- name: controlplane
  connection:
    proxyProtocol: Direct
- name: etcd
  connection:
    proxyProtocol: Direct
"
    )
}
