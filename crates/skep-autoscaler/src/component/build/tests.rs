use skep_testkit::objects::control_plane;

use super::*;
use crate::component::config::offer;

fn plane() -> ControlPlane {
    control_plane("v1.36.3", |_| {})
}

fn flag(name: &str, value: &str) -> Flag {
    Flag { name: name.into(), value: value.into() }
}

#[test]
fn one_pod_has_both_and_nothing_that_opens_the_hub() {
    let own = [flag("scale-down-unneeded-time", "1m")];
    let made = deployment(&plane(), &offer("skep.dev/cluster-autoscaler:v1"), &own, "abc");
    let text = serde_json::to_string(&made).unwrap();
    assert!(
        text.contains("--scale-down-unneeded-time=1m") && text.contains("\"skep.dev/files\":\"abc\""),
        "{text}"
    );
    assert!(!text.contains("hostPath") && text.contains("\"automountServiceAccountToken\":false"), "{text}");
    let pod = made.spec.unwrap().template.spec.unwrap();
    let names: Vec<&str> = pod.containers.iter().map(|one| one.name.as_str()).collect();
    assert_eq!(names, [AUTOSCALER, "relay"]);
    assert_eq!(pod.volumes.unwrap().len(), 1);
    let relay = pod.containers[1].args.clone().unwrap().join(" ");
    assert_eq!(relay, "autoscaler relay --listen $(POD_IP):8087 --to 127.0.0.1:8086 --files /etc/skep");
}

#[test]
fn upstreams_image_has_its_program_in_the_root() {
    assert_eq!(program("skep.dev/cluster-autoscaler:v1.36.1"), "cluster-autoscaler");
    assert_eq!(program("registry.k8s.io/autoscaling/cluster-autoscaler:v1.36.1"), "/cluster-autoscaler");
}

#[test]
fn its_own_namespace_lets_it_reach_two_ports_and_dns() {
    let made = policy(&plane(), [6443, 8086]);
    let spec = made.spec.unwrap();
    let ports = spec.egress.unwrap().remove(0).ports.unwrap();
    let numbers: Vec<_> = ports.into_iter().map(|port| port.port.unwrap()).collect();
    assert_eq!(numbers, [6443, 8086, 53, 53].map(IntOrString::Int));
    assert_eq!(spec.pod_selector.unwrap().match_labels.unwrap()[labels::COMPONENT], AUTOSCALER);
}

#[test]
fn what_decides_on_safety_is_not_a_clusters_to_set() {
    for name in [
        "cloud-config",
        "kubeconfig",
        "grpc-expander-url",
        "address",
        "nodes",
        "log-file",
        "drain-config-file",
    ] {
        assert_eq!(refused(&[flag(name, "x")]).len(), 1, "{name}");
    }
    for name in
        ["scale-down-unneeded-time", "scan-interval", "max-nodes-total", "v", "balance-similar-node-groups"]
    {
        assert_eq!(refused(&[flag(name, "x")]), [] as [String; 0], "{name}");
    }
}
