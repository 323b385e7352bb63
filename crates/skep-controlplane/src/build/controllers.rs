//! kube-controller-manager and kube-scheduler.
//!
//! They reach their API server through the gateway like everybody else. A single copy runs without leader election, so
//! that it works the moment it has started; it is stopped before its successor starts. Two copies elect a leader and are
//! replaced one by one.

use skep_api::control_plane::Controller;
use skep_api::resources::Flag;
use skep_plan::flags::Program;

use super::pod::{Mount, Parts, Source};
use super::workload::{self, Replace, Workload};
use super::{Inputs, probes};
use crate::names;
use crate::termination;

const PKI: &str = "/etc/kubernetes/pki";

/// The Deployment of one of the two.
pub(super) fn workload(inputs: &Inputs<'_>, program: Program) -> Workload {
    let spec = &inputs.owner.spec;
    let manager = program == Program::KubeControllerManager;
    let (controller, port) =
        if manager { (&spec.controller_manager, 10_257) } else { (&spec.scheduler, 10_259) };
    let mut flags = common(controller, port);
    if manager {
        flags.extend(signing());
        flags.extend(networks(inputs));
    }
    flags.extend(pace(inputs));
    let replace = if controller.replicas > 1 { Replace::SurgeFirst } else { Replace::StopFirst };
    let files = inputs.files.get(&program).cloned().unwrap_or_default();
    let parts = Parts {
        program,
        resources: &controller.resources,
        args: flags
            .iter()
            .map(|(name, value)| format!("--{name}={value}"))
            .chain(extra(&controller.flags))
            .collect(),
        directory: None,
        port,
        mounts: vec![Mount { name: "pki", path: PKI, source: Source::Secret(program.name()) }],
        probes: probes::controller(port),
        grace: termination::CONTROLLER_GRACE,
    };
    workload::workload(inputs, controller.replicas, replace, vec![(names::FILES_ANNOTATION, files)], parts)
}

/// Flags of a spec, as arguments.
pub(super) fn extra(flags: &[Flag]) -> impl Iterator<Item = String> + '_ {
    flags.iter().map(|flag| format!("--{}={}", flag.name, flag.value))
}

type Flags = Vec<(&'static str, String)>;

fn common(controller: &Controller, port: i32) -> Flags {
    let kubeconfig = format!("{PKI}/kubeconfig");
    vec![
        ("kubeconfig", kubeconfig.clone()),
        ("bind-address", "$(POD_IP)".to_owned()),
        ("secure-port", port.to_string()),
        ("tls-cert-file", format!("{PKI}/server.crt")),
        ("tls-private-key-file", format!("{PKI}/server.key")),
        ("client-ca-file", format!("{PKI}/ca.crt")),
        // Whoever asks for metrics is asked about at the tenant's own API server. The lookup of further settings there is
        // skipped: it would end the program when the API server is not up yet.
        ("authentication-kubeconfig", kubeconfig.clone()),
        ("authentication-skip-lookup", "true".to_owned()),
        ("authorization-kubeconfig", kubeconfig),
        ("leader-elect", (controller.replicas > 1).to_string()),
        ("profiling", "false".to_owned()),
    ]
}

fn signing() -> Flags {
    vec![
        ("cluster-signing-cert-file", format!("{PKI}/signer.crt")),
        ("cluster-signing-key-file", format!("{PKI}/signer.key")),
        ("root-ca-file", format!("{PKI}/ca.crt")),
        ("service-account-private-key-file", format!("{PKI}/service-account.key")),
        ("use-service-account-credentials", "true".to_owned()),
        ("controllers", "*,bootstrap-signer-controller,token-cleaner-controller".to_owned()),
    ]
}

fn networks(inputs: &Inputs<'_>) -> Flags {
    vec![
        ("service-cluster-ip-range", inputs.ranges.services.to_string()),
        ("cluster-cidr", inputs.ranges.pods.to_string()),
        ("allocate-node-cidrs", "true".to_owned()),
        ("configure-cloud-routes", "false".to_owned()),
    ]
}

/// How many requests a second each of their clients may send: as many as the API server's size lets it write at once, so
/// that a large cluster is not held to upstream's 20 and 50 (a scheduler binds a pod with each), and the API server's own
/// fairness decides when there are too many. Never less than [`LEAST_PACE`].
fn pace(inputs: &Inputs<'_>) -> Flags {
    let pace = inputs.owner.spec.api_server.max_mutating_requests_inflight.max(LEAST_PACE);
    vec![("kube-api-qps", pace.to_string()), ("kube-api-burst", (2 * pace).to_string())]
}

/// Every controller has a service account and a token of its own: at the first start that is two writes for each of
/// thirty, which upstream's default of 20 a second would stretch over seconds.
const LEAST_PACE: i32 = 100;
