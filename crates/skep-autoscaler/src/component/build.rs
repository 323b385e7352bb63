//! Pure: the pod of one tenant's cluster-autoscaler, and who it may talk to.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{Deployment, DeploymentSpec, DeploymentStrategy};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, HTTPGetAction, PodSpec, PodTemplateSpec, Probe, Secret, SecretVolumeSource,
    Volume, VolumeMount,
};
use k8s_openapi::api::networking::v1::{
    NetworkPolicy, NetworkPolicyEgressRule, NetworkPolicyPort, NetworkPolicySpec,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use skep_api::ControlPlane;
use skep_api::labels::{self, component::AUTOSCALER};
use skep_api::resources::{Flag, ResourceBundle};
use skep_controlplane::{names, pki::Data};
use skep_plan::{flags, pod};

use super::Offer;

/// Where the Secret is seen.
const FILES: &str = "/etc/skep";
/// Port of its health and metrics.
const HEALTH: i32 = 8085;
/// Port of the relay.
const RELAY: i32 = 8087;
/// Readable by owner and group.
const READABLE: i32 = 0o440;
/// Annotation of the pod: digest of what the program reads only once.
const DIGEST: &str = names::FILES_ANNOTATION;

/// Flags that are set here. Who wants other ones runs cluster-autoscaler by themselves.
const OWN: &[&str] = &[
    "address",
    "cloud-*",
    "cluster-name",
    "clusterapi-*",
    "debugging-snapshot-enabled",
    "expander",
    "grpc-expander-*",
    "kubeconfig",
    "kubernetes",
    "leader-elect*",
    "log*",
    "namespace",
    "node-group-auto-discovery",
    "nodes",
    "profiling",
    "status-config-map-name",
    "write-status-configmap",
];

/// The flags of a cluster that may not be set, with why.
pub(super) fn refused(own: &[Flag]) -> Vec<String> {
    let refused = own.iter().filter_map(|flag| Some((flag, flags::refuses_beside(OWN, &flag.name)?)));
    refused
        .map(|(flag, why)| format!("flag --{} of cluster-autoscaler cannot be set: {why}", flag.name))
        .collect()
}

/// Labels of everything here.
fn own_labels(plane: &ControlPlane) -> BTreeMap<String, String> {
    let mut all = names::common(plane);
    all.insert(labels::COMPONENT.to_owned(), AUTOSCALER.to_owned());
    all
}

fn selector(plane: &ControlPlane) -> LabelSelector {
    let match_labels =
        names::map([(labels::TENANT, plane.spec.tenant.as_str()), (labels::COMPONENT, AUTOSCALER)]);
    LabelSelector { match_labels: Some(match_labels), match_expressions: None }
}

/// Metadata without an owner: the control plane's controller sweeps what it owns and does not know.
fn meta(plane: &ControlPlane) -> ObjectMeta {
    ObjectMeta {
        name: Some(AUTOSCALER.to_owned()),
        namespace: Some(plane.spec.tenant.clone()),
        labels: Some(own_labels(plane)),
        ..ObjectMeta::default()
    }
}

pub(super) fn secret(plane: &ControlPlane, data: Data) -> Secret {
    Secret {
        metadata: meta(plane),
        type_: Some("Opaque".to_owned()),
        data: Some(data.into_map()),
        ..Secret::default()
    }
}

/// It may reach the gateway, this process, and ask DNS.
pub(super) fn policy(plane: &ControlPlane, ports: [i32; 2]) -> NetworkPolicy {
    let port = |protocol: &str, number| NetworkPolicyPort {
        protocol: Some(protocol.to_owned()),
        port: Some(IntOrString::Int(number)),
        end_port: None,
    };
    let ports = ports.map(|number| port("TCP", number)).into_iter();
    let ports = ports.chain([port("UDP", 53), port("TCP", 53)]).collect();
    NetworkPolicy {
        metadata: meta(plane),
        spec: Some(NetworkPolicySpec {
            pod_selector: Some(selector(plane)),
            policy_types: Some(vec!["Egress".to_owned()]),
            egress: Some(vec![NetworkPolicyEgressRule { ports: Some(ports), to: None }]),
            ingress: None,
        }),
    }
}

/// The Deployment: one copy, stopped before its successor starts, so that it needs no election.
pub(super) fn deployment(plane: &ControlPlane, offer: &Offer, own: &[Flag], digest: &str) -> Deployment {
    let annotations = names::map([(DIGEST, digest)]);
    let template = ObjectMeta {
        labels: Some(own_labels(plane)),
        annotations: Some(annotations),
        ..ObjectMeta::default()
    };
    Deployment {
        metadata: meta(plane),
        spec: Some(DeploymentSpec {
            replicas: Some(1),
            selector: selector(plane),
            revision_history_limit: Some(0),
            strategy: Some(DeploymentStrategy { type_: Some("Recreate".to_owned()), rolling_update: None }),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod_spec(offer, own)) },
            ..DeploymentSpec::default()
        }),
        status: None,
    }
}

fn pod_spec(offer: &Offer, own: &[Flag]) -> PodSpec {
    PodSpec {
        containers: vec![autoscaler(offer, own), relay(offer)],
        volumes: Some(vec![Volume {
            name: "files".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(AUTOSCALER.to_owned()),
                default_mode: Some(READABLE),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(pod::security()),
        termination_grace_period_seconds: Some(10),
        ..PodSpec::default()
    }
}

fn container(name: &str, image: &str, args: Vec<String>, resources: &ResourceBundle) -> Container {
    Container {
        name: name.to_owned(),
        image: Some(image.to_owned()),
        args: Some(args),
        // Paths in the cloud configuration count from here.
        working_dir: Some(FILES.to_owned()),
        env: Some(pod::environment(resources)),
        resources: Some(pod::requirements(resources)),
        volume_mounts: Some(vec![VolumeMount {
            name: "files".to_owned(),
            mount_path: FILES.to_owned(),
            read_only: Some(true),
            ..VolumeMount::default()
        }]),
        security_context: Some(pod::container_security()),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

fn autoscaler(offer: &Offer, own: &[Flag]) -> Container {
    let set = [
        ("kubeconfig", format!("{FILES}/kubeconfig")),
        ("cloud-provider", "externalgrpc".to_owned()),
        ("cloud-config", format!("{FILES}/cloud-config")),
        // When ours does not answer, upstream goes on with the other.
        ("expander", "grpc,least-waste".to_owned()),
        ("grpc-expander-url", format!("$(POD_IP):{RELAY}")),
        ("grpc-expander-cert", format!("{FILES}/expander-ca.crt")),
        ("leader-elect", "false".to_owned()),
        ("address", format!("$(POD_IP):{HEALTH}")),
        ("namespace", "kube-system".to_owned()),
    ];
    let args = set.iter().map(|(name, value)| format!("--{name}={value}"));
    let args = args.chain(own.iter().map(|flag| format!("--{}={}", flag.name, flag.value))).collect();
    let probe = |period, failures| Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/health-check".to_owned()),
            port: IntOrString::Int(HEALTH),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        failure_threshold: Some(failures),
        timeout_seconds: Some(15),
        ..Probe::default()
    };
    Container {
        command: Some(vec![program(&offer.image).to_owned()]),
        ports: Some(vec![ContainerPort {
            name: Some("metrics".to_owned()),
            container_port: HEALTH,
            ..ContainerPort::default()
        }]),
        startup_probe: Some(probe(1, 300)),
        liveness_probe: Some(probe(45, 3)),
        ..container(AUTOSCALER, &offer.image, args, &resources("20m", "100Mi"))
    }
}

/// Images of this engine have their programs in `PATH`; upstream's has it in its root directory and no shell to look for it.
fn program(image: &str) -> &'static str {
    if image.starts_with(skep_engine::REGISTRY) { "cluster-autoscaler" } else { "/cluster-autoscaler" }
}

/// Upstream shows no certificate to an expander; this does, for the one in its own pod.
fn relay(offer: &Offer) -> Container {
    let listen = format!("$(POD_IP):{RELAY}");
    let args = ["autoscaler", "relay", "--listen", &listen, "--to", &offer.address, "--files", FILES];
    Container {
        command: Some(vec!["skep".to_owned()]),
        ..container("relay", &offer.relay, args.map(str::to_owned).to_vec(), &resources("5m", "24Mi"))
    }
}

fn resources(cpu: &str, memory: &str) -> ResourceBundle {
    ResourceBundle {
        cpu_request: cpu.to_owned(),
        memory_request: memory.to_owned(),
        cpu_limit: None,
        memory_limit: None,
        go_mem_limit: None,
    }
}

#[cfg(test)]
mod tests;
