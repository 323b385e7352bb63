//! Probes: fast until the first success, quiet afterwards, and never a restart for somebody else's failure.

use k8s_openapi::api::core::v1::{HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

/// Seconds a program may take until it has started: etcd may be recovering meanwhile.
const START: i32 = 300;
/// An answer later than this is none: upstream's own manifests (kubeadm) use the same.
const TIMEOUT: i32 = 15;

/// How a program is probed.
pub(super) struct Probes {
    pub(super) startup: Probe,
    pub(super) readiness: Option<Probe>,
    pub(super) liveness: Probe,
}

/// kube-apiserver. The startup probe asks `/readyz`, because a kubelet asks for readiness at once when the startup probe
/// has succeeded and then only after a period. Readiness may be rare: an API server that stops says so by its pod's
/// deletion, one that ends is seen at once, and when etcd is away no other copy is better. Liveness leaves etcd out: a
/// restart of all API servers does not bring etcd back, it only adds their start to its load.
pub(super) fn api_server() -> Probes {
    Probes {
        startup: startup("/readyz", 6443),
        readiness: Some(Probe {
            period_seconds: Some(15),
            failure_threshold: Some(2),
            ..get("/readyz", 6443)
        }),
        liveness: liveness("/livez?exclude=etcd", 6443),
    }
}

/// kube-controller-manager and kube-scheduler. They are ready when they have started: nobody sends them requests.
pub(super) fn controller(port: i32) -> Probes {
    Probes { startup: startup("/healthz", port), readiness: None, liveness: liveness("/healthz", port) }
}

fn startup(path: &str, port: i32) -> Probe {
    Probe { period_seconds: Some(1), failure_threshold: Some(START), ..get(path, port) }
}

/// As patient as upstream's own manifests (eight times ten seconds), with a quarter of the questions: each is a TLS
/// handshake for both sides, times all programs of all tenants, and a program that ends is seen without one.
fn liveness(path: &str, port: i32) -> Probe {
    Probe { period_seconds: Some(45), failure_threshold: Some(2), ..get(path, port) }
}

fn get(path: &str, port: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(port),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        timeout_seconds: Some(TIMEOUT),
        ..Probe::default()
    }
}
