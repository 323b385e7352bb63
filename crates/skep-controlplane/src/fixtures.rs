//! Objects for this crate's tests.

use std::collections::BTreeMap;

use k8s_openapi::jiff::Timestamp;
use skep_api::{ControlPlane, ControlPlaneSpec};
use skep_plan::flags::Program;
use skep_plan::network;
use skep_testkit::objects::{TENANT, control_plane};

use crate::build::{self, CellSettings, Inputs, Manifests};

pub(crate) fn now() -> Timestamp {
    "2026-11-01T00:00:00Z".parse().unwrap()
}

pub(crate) fn owner(change: impl FnOnce(&mut ControlPlaneSpec)) -> ControlPlane {
    let mut owner = control_plane("v1.36.3", change);
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
