//! Objects for this crate's tests.

use skep_api::cluster::ClusterSpec;
use skep_api::control_plane::DatastoreRef;
use skep_api::datastore::DatastoreClass;
use skep_api::profile::ClusterProfileSpec;
use skep_api::release::{ReleaseSpec, ReleaseState};
use skep_api::resources::{Availability, ClusterNetwork, ResourceBundle};
use skep_api::size_class::{ApiServerSize, SizeClassSpec};
use skep_api::{Cluster, ClusterProfile, Release, SizeClass};

use crate::datastore::Candidate;
use crate::{Catalogue, Cell};

pub(crate) fn cluster(spec: ClusterSpec) -> Cluster {
    let mut cluster = Cluster::new("demo", spec);
    cluster.metadata.namespace = Some("team-a".into());
    cluster.metadata.uid = Some("11111111-2222-3333-4444-555555555555".into());
    cluster
}

pub(crate) fn bundle(cpu: &str, memory: &str) -> ResourceBundle {
    ResourceBundle {
        cpu_request: cpu.into(),
        memory_request: memory.into(),
        cpu_limit: None,
        memory_limit: None,
        go_mem_limit: None,
    }
}

pub(crate) fn size_class(name: &str, rank: i32, memory: &str) -> SizeClass {
    SizeClass::new(
        name,
        SizeClassSpec {
            rank,
            api_server: ApiServerSize {
                resources: bundle("100m", memory),
                max_requests_inflight: 100 * (rank + 1),
                max_mutating_requests_inflight: 50 * (rank + 1),
            },
            controller_manager: bundle("50m", "64Mi"),
            scheduler: bundle("20m", "32Mi"),
            datastore_quota: "1Gi".into(),
        },
    )
}

pub(crate) fn profile(name: &str, size_class: &str) -> ClusterProfile {
    ClusterProfile::new(
        name,
        ClusterProfileSpec {
            description: "for tests".into(),
            size_class: size_class.into(),
            availability: Availability::Single,
            network: ClusterNetwork::default(),
            api_server_flags: Vec::new(),
        },
    )
}

pub(crate) fn release(version: &str, state: ReleaseState) -> Release {
    Release::new(
        version,
        ReleaseSpec { kubernetes_version: version.into(), image: format!("skep.dev/kube:{version}"), state },
    )
}

pub(crate) fn catalogue() -> Catalogue {
    Catalogue::new(
        &[size_class("small", 0, "256Mi"), size_class("large", 2, "2Gi"), size_class("medium", 1, "1Gi")],
        &[profile("standard", "small"), profile("broken", "huge")],
        &[
            release("v1.36.3", ReleaseState::Stable),
            release("v1.35.4", ReleaseState::Stable),
            release("v1.34.9", ReleaseState::Retired),
            release("v1.37.0", ReleaseState::Preview),
        ],
    )
}

pub(crate) fn candidate(name: &str) -> Candidate {
    Candidate {
        reference: DatastoreRef { namespace: "skep-system".into(), name: name.into() },
        class: DatastoreClass::Shared,
        ready: true,
        closed: false,
        tenants: 0,
        max_tenants: 500,
    }
}

pub(crate) fn cell() -> Cell {
    let mut cell = Cell::new("https://127.0.0.1:6443");
    cell.datastores = vec![candidate("main")];
    cell
}
