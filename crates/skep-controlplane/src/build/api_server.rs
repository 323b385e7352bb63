//! kube-apiserver.
//!
//! Flags were read from upstream's own sources (k8s.io/kubernetes v1.35.4 and v1.36.3), not from other distributions.

use k8s_openapi::api::core::v1::ConfigMap;
use skep_api::labels;
use skep_plan::flags::Program;

use super::pod::{Mount, Parts, Source};
use super::workload::{self, Replace, Workload};
use super::{Inputs, files, probes};
use crate::names;
use crate::pki::digest;
use crate::termination;

/// Port of every tenant's API server on its pod's address.
pub(super) const PORT: i32 = 6443;
/// Issuer of service account tokens: the name by which pods of the tenant cluster know their API server.
const ISSUER: &str = "https://kubernetes.default.svc.cluster.local";

const PKI: &str = "/etc/kubernetes/pki";
const ETCD: &str = "/etc/kubernetes/etcd";
const CONFIG: &str = "/etc/kubernetes/config";
const AUDIT: &str = "/var/log/kubernetes";
/// Room for the audit log: three files of ten megabytes, and some to spare.
const AUDIT_ROOM: &str = "64Mi";

/// The Deployment.
pub(super) fn workload(inputs: &Inputs<'_>, config: &ConfigMap) -> Workload {
    let spec = &inputs.owner.spec.api_server;
    let program = Program::KubeApiserver;
    let files = inputs.files.get(&program).map(String::as_str).unwrap_or_default();
    let texts = files::texts(config);
    let annotations = vec![
        (names::FILES_ANNOTATION, digest(&[&[files], texts.as_slice()].concat())),
        (labels::CLOSES_AFTER, termination::DELAY.as_millis().to_string()),
    ];
    let parts = Parts {
        program,
        resources: &spec.resources,
        args: args(inputs),
        directory: Some(PKI),
        port: PORT,
        mounts: vec![
            Mount { name: "pki", path: PKI, source: Source::Secret(program.name()) },
            Mount { name: "etcd", path: ETCD, source: Source::Secret(names::DATASTORE_CLIENT) },
            Mount { name: "config", path: CONFIG, source: Source::ConfigMap(program.name()) },
            Mount { name: "audit", path: AUDIT, source: Source::Scratch(AUDIT_ROOM) },
        ],
        probes: probes::api_server(),
        grace: termination::GRACE,
    };
    workload::workload(inputs, spec.replicas, Replace::SurgeFirst, annotations, parts)
}

fn args(inputs: &Inputs<'_>) -> Vec<String> {
    let spec = &inputs.owner.spec;
    let api = &spec.api_server;
    let own: Vec<(&str, String)> = [
        own_address(inputs),
        datastore(inputs),
        who_may(),
        tokens(),
        network(inputs),
        front_proxy(),
        audit(),
        vec![
            ("max-requests-inflight", api.max_requests_inflight.to_string()),
            ("max-mutating-requests-inflight", api.max_mutating_requests_inflight.to_string()),
            ("shutdown-delay-duration", seconds(termination::DELAY)),
            ("shutdown-watch-termination-grace-period", seconds(termination::WATCHES)),
            ("profiling", "false".to_owned()),
        ],
    ]
    .concat();
    let own = own.iter().map(|(name, value)| format!("--{name}={value}"));
    own.chain(super::controllers::extra(&api.flags)).collect()
}

type Flags = Vec<(&'static str, String)>;

fn own_address(inputs: &Inputs<'_>) -> Flags {
    vec![
        ("bind-address", "$(POD_IP)".to_owned()),
        ("secure-port", PORT.to_string()),
        // The same for every copy, so that the Service `kubernetes` never changes; nodes make it lead to the gateway.
        ("advertise-address", inputs.ranges.api_server.to_string()),
        ("endpoint-reconciler-type", "lease".to_owned()),
        ("tls-cert-file", format!("{PKI}/server.crt")),
        ("tls-private-key-file", format!("{PKI}/server.key")),
    ]
}

fn datastore(inputs: &Inputs<'_>) -> Flags {
    vec![
        ("etcd-servers", inputs.etcd_servers.join(",")),
        ("etcd-prefix", inputs.etcd_prefix.to_owned()),
        ("etcd-cafile", format!("{ETCD}/ca.crt")),
        ("etcd-certfile", format!("{ETCD}/tls.crt")),
        ("etcd-keyfile", format!("{ETCD}/tls.key")),
        // A tenant's API server may read the shared key that compaction is agreed on, so that its watch cache knows what
        // is too old to continue a list from, but the operator compacts for all. 0 would switch off the reading as
        // well; a hundred years switch off the compaction only.
        ("etcd-compaction-interval", "876000h".to_owned()),
        ("encryption-provider-config", format!("{PKI}/encryption.yaml")),
        ("encryption-provider-config-automatic-reload", "true".to_owned()),
    ]
}

fn who_may() -> Flags {
    vec![
        ("client-ca-file", format!("{PKI}/ca.crt")),
        ("authentication-config", format!("{CONFIG}/{}", files::AUTHENTICATION)),
        ("enable-bootstrap-token-auth", "true".to_owned()),
        ("authorization-mode", "Node,RBAC".to_owned()),
        ("enable-admission-plugins", "NodeRestriction".to_owned()),
        ("allow-privileged", "true".to_owned()),
    ]
}

fn tokens() -> Flags {
    vec![
        ("service-account-issuer", ISSUER.to_owned()),
        ("service-account-key-file", format!("{PKI}/service-account.pub")),
        ("service-account-signing-key-file", format!("{PKI}/service-account.key")),
    ]
}

fn network(inputs: &Inputs<'_>) -> Flags {
    vec![
        ("service-cluster-ip-range", inputs.ranges.services.to_string()),
        // Aggregated APIs are reached at their endpoints: no kube-proxy runs beside a tenant's API server.
        ("enable-aggregator-routing", "true".to_owned()),
        ("egress-selector-config-file", format!("{CONFIG}/{}", files::egress(inputs.owner))),
        // What kubelets serve with was signed by this cluster's authority when their machine asked for it.
        ("kubelet-certificate-authority", format!("{PKI}/ca.crt")),
        ("kubelet-client-certificate", format!("{PKI}/kubelet-client.crt")),
        ("kubelet-client-key", format!("{PKI}/kubelet-client.key")),
        ("kubelet-preferred-address-types", "InternalIP,Hostname".to_owned()),
    ]
}

fn front_proxy() -> Flags {
    vec![
        ("proxy-client-cert-file", format!("{PKI}/front-proxy-client.crt")),
        ("proxy-client-key-file", format!("{PKI}/front-proxy-client.key")),
        ("requestheader-client-ca-file", format!("{PKI}/front-proxy-ca.crt")),
        ("requestheader-allowed-names", crate::pki::FRONT_PROXY_NAME.to_owned()),
        ("requestheader-username-headers", "X-Remote-User".to_owned()),
        ("requestheader-group-headers", "X-Remote-Group".to_owned()),
        ("requestheader-extra-headers-prefix", "X-Remote-Extra-".to_owned()),
    ]
}

fn audit() -> Flags {
    vec![
        ("audit-policy-file", format!("{CONFIG}/{}", files::AUDIT_POLICY)),
        ("audit-log-path", format!("{AUDIT}/audit.log")),
        ("audit-log-maxsize", "10".to_owned()),
        ("audit-log-maxbackup", "2".to_owned()),
        ("audit-log-maxage", "30".to_owned()),
    ]
}

fn seconds(duration: std::time::Duration) -> String {
    format!("{}s", duration.as_secs())
}
