//! Kubeconfigs: with the bootstrap token for the first contact, then with the node's certificate.
//!
//! The gateway finds the tenant by the name in the handshake, so both say `tls-server-name`.

use serde_json::{Value, json};

use super::text;
use crate::{config::Join, layout::Layout};

/// For the kubelet's first contact. Holds the token.
pub(crate) fn bootstrap(join: &Join, layout: &Layout) -> String {
    kubeconfig(join, layout, json!({"token": join.token}))
}

/// For the node, once it has its certificate; whoever uses it must read the file again when it is rotated.
///
/// The kubelet writes one like it when it joins, but without `tls-server-name`
/// (`pkg/kubelet/certificate/bootstrap/bootstrap.go`): it must be replaced by this one before the kubelet starts again.
pub(crate) fn joined(join: &Join, layout: &Layout) -> String {
    let both = layout.client_certificate();
    kubeconfig(join, layout, json!({"client-certificate": both, "client-key": both}))
}

fn kubeconfig(join: &Join, layout: &Layout, user: Value) -> String {
    text(&json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": {
            "server": join.cluster.server,
            "tls-server-name": join.cluster.host,
            "certificate-authority": layout.authorities(),
        }}],
        "users": [{"name": "node", "user": user}],
        "contexts": [{"name": "node", "context": {"cluster": "cluster", "user": "node"}}],
        "current-context": "node",
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::{host, join};

    #[test]
    fn kubeconfigs() {
        let layout = Layout::new(&host().state);
        insta::assert_snapshot!("kubeconfig_bootstrap", bootstrap(&join(), &layout));
        insta::assert_snapshot!("kubeconfig_joined", joined(&join(), &layout));
    }

    #[test]
    fn only_the_first_holds_the_token() {
        let layout = Layout::new(&host().state);
        assert!(bootstrap(&join(), &layout).contains(&join().token));
        assert!(!joined(&join(), &layout).contains(&join().token));
    }
}
