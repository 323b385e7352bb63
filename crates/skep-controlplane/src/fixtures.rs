//! Objects for this crate's tests.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use skep_api::cluster::Endpoint;
use skep_api::control_plane::{ApiServer, ClusterRef, Controller, DatastoreRef};
use skep_api::resources::{ClusterNetwork, Reconciliation, ResourceBundle};
use skep_api::{ControlPlane, ControlPlaneSpec};
use skep_plan::flags::Program;
use skep_plan::network;

use crate::build::{self, CellSettings, Inputs, Manifests};

pub(crate) const TENANT: &str = "demo-abcd2345";

pub(crate) fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

fn bundle(cpu: &str, memory: &str, limit: Option<&str>) -> ResourceBundle {
    ResourceBundle {
        cpu_request: cpu.into(),
        memory_request: memory.into(),
        cpu_limit: None,
        memory_limit: limit.map(|_| "1Gi".into()),
        go_mem_limit: limit.map(Into::into),
    }
}

pub(crate) fn owner(change: impl FnOnce(&mut ControlPlaneSpec)) -> ControlPlane {
    let controller =
        |cpu, memory| Controller { replicas: 1, resources: bundle(cpu, memory, None), flags: Vec::new() };
    let mut spec = ControlPlaneSpec {
        cluster: ClusterRef { namespace: "team-a".into(), name: "demo".into(), uid: "c-uid".into() },
        tenant: TENANT.into(),
        version: "v1.36.3".into(),
        image: "skep.dev/kube:v1.36.3".into(),
        size_class: "small".into(),
        api_server: ApiServer {
            replicas: 1,
            resources: bundle("100m", "256Mi", Some("300MiB")),
            max_requests_inflight: 400,
            max_mutating_requests_inflight: 200,
            flags: Vec::new(),
        },
        controller_manager: controller("50m", "64Mi"),
        scheduler: controller("20m", "32Mi"),
        datastore: DatastoreRef { namespace: "skep-system".into(), name: "main".into() },
        network: ClusterNetwork::default(),
        endpoint: Endpoint {
            server: "https://127.0.0.1:6443".into(),
            host: format!("{TENANT}.skep.internal"),
        },
        reconciliation: Reconciliation::Active,
    };
    change(&mut spec);
    let mut owner = ControlPlane::new(TENANT, spec);
    owner.metadata.namespace = Some(TENANT.into());
    owner.metadata.uid = Some("cp-uid".into());
    owner.metadata.generation = Some(1);
    owner
}

pub(crate) fn cell() -> CellSettings {
    CellSettings { gateway: "https://127.0.0.1:6443".into(), priority_class: None }
}

pub(crate) fn manifests(owner: &ControlPlane) -> Manifests {
    let files: BTreeMap<Program, String> = Program::ALL.map(|program| (program, "f00d".to_owned())).into();
    build::manifests(&Inputs {
        owner,
        ranges: network::check(&owner.spec.network).unwrap(),
        etcd_servers: &["https://127.64.9.181:2379".to_owned()],
        etcd_prefix: &format!("/skep/{TENANT}"),
        files: &files,
        cell: &cell(),
    })
}
