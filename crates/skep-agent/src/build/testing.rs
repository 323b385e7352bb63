//! A node for tests.

use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

use serde_json::json;
use skep_api::NodeTemplate;

use crate::{
    config::{ClusterFacts, Host, Join, KubeProxyMode, PodNetwork},
    facts::{Cgroups, Facts},
};

/// How to join, with the usual settings.
pub(crate) fn join() -> Join {
    let template: NodeTemplate = serde_json::from_value(json!({
        "machineClass": "local-small",
        "version": "v1.36.3",
        "labels": {"example.com/disk": "ssd"},
    }))
    .unwrap();
    Join {
        node: "demo-workers-x7k2p".into(),
        cluster: ClusterFacts {
            server: "https://198.19.3.1:6443".into(),
            host: "demo-k3x.skep.internal".into(),
            authorities: "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n".into(),
            api_server_address: Ipv4Addr::new(198, 18, 0, 1),
            service_cidr: "10.96.0.0/16".into(),
            pod_cidr: "10.244.0.0/16".into(),
            cluster_domain: "cluster.local".into(),
            cluster_dns: Ipv4Addr::new(10, 96, 0, 10),
            pod_network: PodNetwork::HostGw,
            kube_proxy: KubeProxyMode::Nftables,
        },
        token: "abcdef.0123456789abcdef".into(),
        template,
        zone: "a".into(),
        labels: BTreeMap::from([("skep.dev/pool".into(), "workers".into())]),
        capacity: serde_json::from_value(
            json!({"cpu": "2", "memory": "4Gi", "ephemeralStorage": "20Gi", "pods": 110}),
        )
        .unwrap(),
        registry: None,
    }
}

/// The same with everything set that can be.
pub(crate) fn full_join() -> Join {
    let mut join = join();
    join.template = serde_json::from_value(json!({
        "machineClass": "metal",
        "version": "v1.36.3",
        "labels": {"example.com/disk": "ssd", "kubernetes.io/role": "no", "node.kubernetes.io/rack": "7"},
        "taints": [{"key": "example.com/gpu", "value": "yes", "effect": "NoSchedule"}, {"key": "a", "effect": "NoExecute"}],
        "kubelet": {
            "maxPods": 50, "podPidsLimit": 4096, "reservedCpu": "250m", "reservedMemory": "512Mi",
            "evictionHard": {"memory.available": "200Mi", "nodefs.inodesFree": "3%"},
            "imageGcHighThresholdPercent": 70, "maxParallelImagePulls": 4,
        },
        "runtimes": [{"handler": "crun", "program": "crun"}],
    }))
    .unwrap();
    join.cluster.pod_network = PodNetwork::Vxlan;
    join.cluster.kube_proxy = KubeProxyMode::Iptables;
    join
}

/// A machine on a host of others.
pub(crate) fn host() -> Host {
    Host {
        address: Ipv4Addr::new(198, 19, 3, 7),
        interface: "eth0".into(),
        provider_id: "skep-local://default/demo-workers-x7k2p".into(),
        state: PathBuf::from("/data/machines/n"),
        cgroup_root: "/".into(),
        shared: true,
        brought: false,
        kubernetes: PathBuf::from("/engine/node"),
        containerd: PathBuf::from("/engine/containerd"),
        cni: PathBuf::from("/engine/cni"),
    }
}

/// A machine of its own.
pub(crate) fn own_host() -> Host {
    Host { shared: false, state: PathBuf::from("/var/lib/skep/node"), ..host() }
}

/// What is found on [`host`].
pub(crate) fn facts() -> Facts {
    Facts {
        isolated: true,
        shared: true,
        cpus: 8,
        memory: 32 << 30,
        disk: 250_000_000_000,
        cgroups: Cgroups::V1,
        may_raise: false,
        may_set_conntrack: false,
        resolv_conf: None,
    }
}

/// What is found on [`own_host`].
pub(crate) fn own_facts() -> Facts {
    Facts {
        isolated: false,
        shared: false,
        cpus: 2,
        memory: (4 << 30) - 200_000_000,
        disk: 21_000_000_000,
        cgroups: Cgroups::V2,
        may_raise: true,
        may_set_conntrack: true,
        resolv_conf: Some(PathBuf::from("/etc/resolv.conf")),
    }
}
