//! Objects of ours that many tests need.

use skep_api::cluster::Endpoint;
use skep_api::control_plane::{ApiServer, ClusterRef, Controller, DatastoreRef};
use skep_api::resources::{ClusterNetwork, Reconciliation, ResourceBundle};
use skep_api::{ControlPlane, ControlPlaneSpec};

/// Tenant, name and namespace of [`control_plane`].
pub const TENANT: &str = "demo-abcd2345";

/// A small control plane as the hub writes it, with one copy of everything, without uid and generation.
pub fn control_plane(version: &str, change: impl FnOnce(&mut ControlPlaneSpec)) -> ControlPlane {
    let bundle = |cpu: &str, memory: &str| ResourceBundle {
        cpu_request: cpu.into(),
        memory_request: memory.into(),
        cpu_limit: None,
        memory_limit: None,
        go_mem_limit: None,
    };
    let controller =
        |cpu, memory| Controller { replicas: 1, resources: bundle(cpu, memory), flags: Vec::new() };
    let mut spec = ControlPlaneSpec {
        cluster: ClusterRef { namespace: "team-a".into(), name: "demo".into(), uid: "c-uid".into() },
        tenant: TENANT.into(),
        version: version.into(),
        image: format!("skep.dev/kube:{version}"),
        size_class: "small".into(),
        api_server: ApiServer {
            replicas: 1,
            resources: ResourceBundle {
                memory_limit: Some("1Gi".into()),
                go_mem_limit: Some("300MiB".into()),
                ..bundle("100m", "256Mi")
            },
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
    let mut object = ControlPlane::new(TENANT, spec);
    object.metadata.namespace = Some(TENANT.into());
    object
}
