//! kube-controller-manager and kube-scheduler of the hub.
//!
//! Neither listens: their state is what they do, and the supervisor sees it when they end.

use super::{ConfigFile, Hub, flag, path};
use crate::{Result, pki::name};

/// Requests per second: one installation has one of each, and nobody else to be fair to.
const QPS: u32 = 500;
/// The same for a short time.
const BURST: u32 = 1000;

/// Controllers that only make sense with a cloud, with routed pods or with kubelets that ask for certificates.
const OFF: [&str; 12] = [
    "certificatesigningrequest-approving-controller",
    "certificatesigningrequest-signing-controller",
    "certificatesigningrequest-cleaner-controller",
    "cloud-node-lifecycle-controller",
    "horizontal-pod-autoscaler-controller",
    "node-ipam-controller",
    "node-route-controller",
    "persistentvolume-attach-detach-controller",
    "persistentvolume-expander-controller",
    "service-lb-controller",
    "endpointslice-mirroring-controller",
    "ttl-controller",
];

pub(super) fn manager_args(hub: &Hub) -> Vec<String> {
    let pki = &hub.pki;
    let off = OFF.map(|controller| format!("-{controller}")).join(",");
    let mut args = vec![
        path("kubeconfig", hub.config(MANAGER_CONFIG)),
        flag("secure-port", "0"),
        flag("leader-elect", "false"),
        flag("cluster-name", "skep-hub"),
        // Every controller with the rights of its own service account only.
        flag("use-service-account-credentials", "true"),
        path("service-account-private-key-file", pki.service_account_key()),
        path("root-ca-file", pki.hub_ca()),
        flag("controllers", format!("*,{off}")),
        flag("kube-api-qps", QPS.to_string()),
        flag("kube-api-burst", BURST.to_string()),
        flag("profiling", "false"),
    ];
    // Twenty control planes at once are sixty Deployments: one batch each.
    args.extend(
        ["deployment", "replicaset", "statefulset", "namespace", "gc"]
            .map(|controller| flag(&format!("concurrent-{controller}-syncs"), "32")),
    );
    args
}

const MANAGER_CONFIG: &str = "kube-controller-manager.kubeconfig";
const SCHEDULER_KUBECONFIG: &str = "kube-scheduler.kubeconfig";
const SCHEDULER_CONFIG: &str = "kube-scheduler.yaml";

pub(super) fn manager_files(hub: &Hub) -> Result<Vec<ConfigFile>> {
    let text = hub.pki.kubeconfig_with_files(name::CONTROLLER_MANAGER, &hub.server()?)?;
    Ok(vec![ConfigFile { path: hub.config(MANAGER_CONFIG), text }])
}

pub(super) fn scheduler_args(hub: &Hub) -> Vec<String> {
    vec![path("config", hub.config(SCHEDULER_CONFIG)), flag("secure-port", "0")]
}

pub(super) fn scheduler_files(hub: &Hub) -> Result<Vec<ConfigFile>> {
    let kubeconfig = hub.config(SCHEDULER_KUBECONFIG);
    // JSON is YAML, and quotes every path correctly. A pod that did not fit is tried again within two seconds:
    // what it waits for is usually a pod that is just going away.
    let text = serde_json::json!({
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": kubeconfig, "qps": QPS, "burst": BURST},
        "leaderElection": {"leaderElect": false},
        "enableProfiling": false,
        "parallelism": 2,
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 2,
    });
    Ok(vec![
        ConfigFile {
            path: kubeconfig,
            text: hub.pki.kubeconfig_with_files(name::SCHEDULER, &hub.server()?)?,
        },
        ConfigFile { path: hub.config(SCHEDULER_CONFIG), text: format!("{text:#}\n") },
    ])
}
