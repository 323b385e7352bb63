//! `KubeProxyConfiguration` (`k8s.io/kube-proxy/config/v1alpha1`).

use serde_json::json;

use super::text;
use crate::{
    config::{Join, KubeProxyMode},
    facts::Facts,
    layout::Layout,
};

/// The configuration file. kube-proxy is the node for the API server: it uses the kubelet's certificate.
pub(crate) fn kube_proxy(join: &Join, layout: &Layout, facts: &Facts) -> String {
    let mode = match join.cluster.kube_proxy {
        KubeProxyMode::Nftables => "nftables",
        KubeProxyMode::Iptables => "iptables",
    };
    let mut config = json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": layout.kubeconfig()},
        "hostnameOverride": join.node,
        "mode": mode,
        "clusterCIDR": join.cluster.pod_cidr,
        "detectLocalMode": "ClusterCIDR",
        "healthzBindAddress": "0.0.0.0:10256",
        "metricsBindAddress": "127.0.0.1:10249",
    });
    if !facts.may_set_conntrack {
        // Zero leaves the kernel's values alone; otherwise kube-proxy would end because it may not change them.
        config["conntrack"] =
            json!({"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"});
    }
    text(&config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::{facts, full_join, host, join, own_facts, own_host};

    #[test]
    fn configurations() {
        insta::assert_snapshot!(
            "kube_proxy_usual",
            kube_proxy(&join(), &Layout::new(&host().state), &facts())
        );
        let layout = Layout::new(&own_host().state);
        insta::assert_snapshot!("kube_proxy_full", kube_proxy(&full_join(), &layout, &own_facts()));
    }
}
