//! `KubeletConfiguration` (`k8s.io/kubelet/config/v1beta1`) and command line of the kubelet.

use serde_json::{Value, json};

use super::{labels, reserve::reserve, text};
use crate::{
    config::{Host, Join, KubeProxyMode},
    facts::{Cgroups, Facts},
    layout::{KUBELET, Layout, POD_LOGS},
};

/// Where the kubelet answers `/healthz`: upstream's default, on loopback of the node's own namespace.
pub(crate) const HEALTHZ: std::net::SocketAddr =
    std::net::SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 10248);
/// Upstream's default of `imageGCLowThresholdPercent`, and how far below the high one it must be at least here.
const GC_LOW: i32 = 80;
const GC_DISTANCE: i32 = 5;

/// The configuration file.
pub(crate) fn kubelet(join: &Join, host: &Host, layout: &Layout, facts: &Facts) -> String {
    let (cluster, settings) = (&join.cluster, &join.template.kubelet);
    let reserve = reserve(join, facts);
    let mut config = json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.authorities()},
        },
        "authorization": {"mode": "Webhook"},
        "readOnlyPort": 0,
        "healthzBindAddress": HEALTHZ.ip(),
        "healthzPort": HEALTHZ.port(),
        "rotateCertificates": true,
        "serverTLSBootstrap": true,
        "clusterDNS": [cluster.cluster_dns],
        "clusterDomain": cluster.cluster_domain,
        "resolvConf": facts.resolv_conf.clone().unwrap_or_else(|| layout.resolv_conf()),
        "containerRuntimeEndpoint": format!("unix://{}", layout.socket().display()),
        "podLogsDir": POD_LOGS,
        "volumePluginDir": format!("{KUBELET}/volume-plugins"),
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": host.cgroup_root,
        "enforceNodeAllocatable": ["pods"],
        "maxPods": settings.max_pods.unwrap_or(join.capacity.pods),
        "providerID": host.provider_id,
        "systemReserved": reserve.system,
        "kubeReserved": reserve.kube,
        "evictionHard": reserve.eviction,
        // Swap of the machine is not used for pods and is no reason to have none.
        "failSwapOn": false,
        // Only iptables users read the chains it would make.
        "makeIPTablesUtilChains": cluster.kube_proxy == KubeProxyMode::Iptables,
    });
    let mut set = |key: &str, value: Value| config[key] = value;
    if facts.cgroups == Cgroups::V1 {
        set("failCgroupV1", json!(false));
    }
    if !join.template.taints.is_empty() {
        set("registerWithTaints", labels::taints(&join.template.taints));
    }
    if let Some(limit) = settings.pod_pids_limit {
        set("podPidsLimit", json!(limit));
    }
    // Others fill a shared disk too: images go when this node runs out of its part, by eviction.
    let collect = settings.image_gc_high_threshold_percent.or(facts.shared.then_some(100));
    if let Some(high) = collect {
        set("imageGCHighThresholdPercent", json!(high));
        set("imageGCLowThresholdPercent", json!(GC_LOW.min(high - GC_DISTANCE).max(0)));
    }
    match settings.max_parallel_image_pulls {
        Some(many) if many > 1 => {
            set("serializeImagePulls", json!(false));
            set("maxParallelImagePulls", json!(many));
        }
        Some(_) => set("serializeImagePulls", json!(true)),
        None => {}
    }
    text(&config)
}

/// The command line.
pub(crate) fn arguments(join: &Join, host: &Host, layout: &Layout) -> Vec<String> {
    let labels: Vec<String> =
        labels::labels(join).iter().map(|(key, value)| format!("{key}={value}")).collect();
    vec![
        format!("--config={}", layout.kubelet_config().display()),
        format!("--bootstrap-kubeconfig={}", layout.bootstrap_kubeconfig().display()),
        format!("--kubeconfig={}", layout.kubelet_kubeconfig().display()),
        format!("--root-dir={KUBELET}"),
        format!("--cert-dir={}", layout.certificates().display()),
        format!("--hostname-override={}", join.node),
        format!("--node-ip={}", host.address),
        format!("--node-labels={}", labels.join(",")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::build::testing::{facts, full_join, host, join, own_facts, own_host};

    #[test]
    fn configurations() {
        let layout = Layout::new(&host().state);
        insta::assert_snapshot!("kubelet_usual", kubelet(&join(), &host(), &layout, &facts()));
        insta::assert_snapshot!("kubelet_arguments", arguments(&join(), &host(), &layout).join("\n"));
        let layout = Layout::new(&own_host().state);
        insta::assert_snapshot!("kubelet_full", kubelet(&full_join(), &own_host(), &layout, &own_facts()));
    }

    #[test]
    fn one_image_at_a_time_is_not_in_parallel() {
        let mut join = join();
        join.template.kubelet.max_parallel_image_pulls = Some(1);
        join.template.kubelet.image_gc_high_threshold_percent = Some(3);
        let layout = Layout::new(&host().state);
        let config: Value = serde_json::from_str(&kubelet(&join, &host(), &layout, &facts())).unwrap();
        assert_eq!(
            (&config["serializeImagePulls"], &config["maxParallelImagePulls"]),
            (&json!(true), &Value::Null)
        );
        assert_eq!(config["imageGCLowThresholdPercent"], 0);
    }
}
