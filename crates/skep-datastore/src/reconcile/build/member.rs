//! The StatefulSet of etcd.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{
    StatefulSet, StatefulSetPersistentVolumeClaimRetentionPolicy, StatefulSetSpec,
};
use k8s_openapi::api::core::v1::{
    Container, ContainerPort, HTTPGetAction, PersistentVolumeClaim, PersistentVolumeClaimSpec,
    PodSecurityContext, PodSpec, PodTemplateSpec, Probe, SecretVolumeSource, Volume, VolumeMount,
    VolumeResourceRequirements,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use sha2::{Digest, Sha256};
use skep_plan::pod;

use super::super::validate::{CLIENT_PORT, HTTP_PORT, METRICS_PORT, PEER_PORT, Wanted};
use super::access::{matching, selector};
use crate::secrets::server_name;

/// Name of the volume with etcd's files, and the first part of its claim's name.
pub(crate) const DATA: &str = "data";
/// Where the disk is mounted.
const DATA_DIR: &str = "/var/lib/etcd";
/// Where the certificates are mounted.
const TLS_DIR: &str = "/etc/skep/tls";
/// On the pod template: changes when etcd has to read its trusted authorities again. It reads certificates and keys by
/// itself, for every connection, but whom it trusts only when it starts.
const TRUST_DIGEST: &str = "skep.dev/trust-digest";

/// Digest of everything a member trusts.
pub(super) fn trust_digest(server_ca: &str, client_ca: &str) -> String {
    let digest = Sha256::new().chain_update(server_ca).chain_update([0]).chain_update(client_ca).finalize();
    digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
}

/// The StatefulSet with its one member.
pub(super) fn stateful_set(wanted: &Wanted, trust_digest: &str) -> StatefulSet {
    let template = ObjectMeta {
        name: None,
        namespace: None,
        annotations: Some(BTreeMap::from([(TRUST_DIGEST.to_owned(), trust_digest.to_owned())])),
        ..wanted.unowned_meta("")
    };
    // Kept when the StatefulSet goes, whoever deletes it: only the deletion of an empty datastore deletes its disk.
    let keep = || Some("Retain".to_owned());
    StatefulSet {
        metadata: wanted.meta(wanted.name.as_str()),
        spec: Some(StatefulSetSpec {
            replicas: Some(1),
            service_name: Some(wanted.name.clone()),
            pod_management_policy: Some("Parallel".to_owned()),
            selector: matching(selector(wanted)),
            template: PodTemplateSpec { metadata: Some(template), spec: Some(pod_spec(wanted)) },
            volume_claim_templates: Some(vec![claim(wanted)]),
            persistent_volume_claim_retention_policy: Some(StatefulSetPersistentVolumeClaimRetentionPolicy {
                when_deleted: keep(),
                when_scaled: keep(),
            }),
            ..StatefulSetSpec::default()
        }),
        ..StatefulSet::default()
    }
}

fn pod_spec(wanted: &Wanted) -> PodSpec {
    PodSpec {
        containers: vec![container(wanted)],
        volumes: Some(vec![Volume {
            name: "tls".to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(server_name(&wanted.name)),
                // Readable for the group that the volume belongs to, and nobody else.
                default_mode: Some(0o440),
                ..SecretVolumeSource::default()
            }),
            ..Volume::default()
        }]),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        termination_grace_period_seconds: Some(30),
        security_context: Some(PodSecurityContext {
            fs_group_change_policy: Some("OnRootMismatch".to_owned()),
            ..pod::security()
        }),
        ..PodSpec::default()
    }
}

fn container(wanted: &Wanted) -> Container {
    let mount = |name: &str, path: &str, read_only: Option<bool>| VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only,
        ..VolumeMount::default()
    };
    let port = |name: &str, port: u16| ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        ..ContainerPort::default()
    };
    Container {
        name: "etcd".to_owned(),
        image: Some(wanted.image.clone()),
        image_pull_policy: Some("IfNotPresent".to_owned()),
        command: Some(vec!["etcd".to_owned()]),
        args: Some(arguments(wanted)),
        env: Some(pod::environment(&wanted.resources)),
        ports: Some(vec![
            port("client", CLIENT_PORT),
            port("peer", PEER_PORT),
            port("metrics", METRICS_PORT),
        ]),
        resources: Some(pod::requirements(&wanted.resources)),
        volume_mounts: Some(vec![mount(DATA, DATA_DIR, None), mount("tls", TLS_DIR, Some(true))]),
        // A look every second is cheap and only until the first answer; a large database takes minutes to open.
        startup_probe: Some(probe("/readyz", 1, 900)),
        readiness_probe: Some(probe("/readyz", 5, 2)),
        // A member that is slow because it is busy must not be killed for it: a minute without any answer.
        liveness_probe: Some(probe("/livez", 10, 6)),
        security_context: Some(pod::container_security()),
        ..Container::default()
    }
}

/// etcd's flags. `$(POD_IP)` is filled in by the kubelet.
fn arguments(wanted: &Wanted) -> Vec<String> {
    let member = wanted.member();
    let peer = wanted.host.https(PEER_PORT);
    let listen = |scheme: &str, port: u16| format!("{scheme}://$(POD_IP):{port}");
    let tls = |file: &str| format!("{TLS_DIR}/{file}");
    let flags: Vec<(&str, String)> = vec![
        ("name", member.clone()),
        // A directory of its own on the disk: some file systems put lost+found beside it.
        ("data-dir", format!("{DATA_DIR}/member")),
        ("listen-client-urls", listen("https", CLIENT_PORT)),
        ("listen-client-http-urls", listen("https", HTTP_PORT)),
        ("advertise-client-urls", wanted.host.https(CLIENT_PORT)),
        ("listen-peer-urls", listen("https", PEER_PORT)),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("{member}={peer}")),
        ("initial-cluster-token", wanted.uid.clone()),
        ("initial-cluster-state", "new".to_owned()),
        ("listen-metrics-urls", listen("http", METRICS_PORT)),
        ("client-cert-auth", "true".to_owned()),
        ("trusted-ca-file", tls("ca.crt")),
        ("cert-file", tls("tls.crt")),
        ("key-file", tls("tls.key")),
        ("peer-client-cert-auth", "true".to_owned()),
        ("peer-trusted-ca-file", tls("peer-ca.crt")),
        ("peer-cert-file", tls("peer.crt")),
        ("peer-key-file", tls("peer.key")),
        // The JSON gateway calls etcd with its own certificate and so defeats the check of the caller's.
        ("enable-grpc-gateway", "false".to_owned()),
        ("quota-backend-bytes", wanted.quota.to_string()),
        // The operator drops history every five minutes; etcd does so by itself when the operator is long away.
        ("auto-compaction-mode", "periodic".to_owned()),
        ("auto-compaction-retention", "30m".to_owned()),
        // Upstream's defaults, which kube-apiserver's own limits are made for.
        ("max-request-bytes", "1572864".to_owned()),
        ("max-txn-ops", "128".to_owned()),
        // Entries kept in memory for slow followers, of which there are none: half and a tenth of the defaults.
        ("snapshot-count", "5000".to_owned()),
        ("snapshot-catchup-entries", "500".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-level", "warn".to_owned()),
    ];
    flags.into_iter().map(|(name, value)| format!("--{name}={value}")).collect()
}

fn probe(path: &str, period: i32, failures: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(METRICS_PORT.into()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period),
        timeout_seconds: Some(5),
        failure_threshold: Some(failures),
        ..Probe::default()
    }
}

fn claim(wanted: &Wanted) -> PersistentVolumeClaim {
    let size = BTreeMap::from([("storage".to_owned(), Quantity(wanted.storage_size.clone()))]);
    PersistentVolumeClaim {
        metadata: ObjectMeta { namespace: None, ..wanted.unowned_meta(DATA) },
        spec: Some(PersistentVolumeClaimSpec {
            access_modes: Some(vec!["ReadWriteOnce".to_owned()]),
            storage_class_name: wanted.storage_class.clone(),
            resources: Some(VolumeResourceRequirements { requests: Some(size), ..Default::default() }),
            ..PersistentVolumeClaimSpec::default()
        }),
        ..PersistentVolumeClaim::default()
    }
}
