//! What resolves, and what is refused with which words.

use skep_api::cluster::{Channel, ClusterSpec, Size};
use skep_api::resources::Reconciliation;

use super::*;
use crate::fixtures::{candidate, catalogue, cell, cluster};

fn flag(name: &str, value: &str) -> Flag {
    Flag { name: name.into(), value: value.into() }
}

fn fresh(spec: ClusterSpec) -> Result<ControlPlaneSpec, Refused> {
    resolve(&cluster(spec), &catalogue(), &cell(), None)
}

fn again(spec: ClusterSpec, running: &ControlPlaneSpec) -> Result<ControlPlaneSpec, Refused> {
    resolve(&cluster(spec), &catalogue(), &cell(), Some(Running { spec: running, status: None }))
}

#[test]
fn an_empty_spec_is_a_cluster() {
    insta::assert_yaml_snapshot!(fresh(ClusterSpec::default()).unwrap());
}

#[test]
fn a_full_spec_is_taken_as_it_is() {
    let spec = ClusterSpec {
        version: Some("v1.35.4".into()),
        size: Some(Size { class: "large".into() }),
        availability: Some(Availability::HighlyAvailable),
        flags: Some(ControlPlaneFlags {
            autoscaler: vec![],
            api_server: vec![flag("v", "4"), flag("event-ttl", "2h")],
            controller_manager: vec![flag("v", "2")],
            scheduler: vec![],
        }),
        reconciliation: Reconciliation::Paused,
        ..ClusterSpec::default()
    };
    insta::assert_yaml_snapshot!(fresh(spec).unwrap());
}

#[test]
fn unknown_names_are_refused_all_at_once_with_what_is_known() {
    let spec = ClusterSpec {
        version: Some("v1.99.0".into()),
        profile: Some("edge".into()),
        size: Some(Size { class: "gigantic".into() }),
        flags: Some(ControlPlaneFlags { api_server: vec![flag("etcd-prefix", "/")], ..Default::default() }),
        ..ClusterSpec::default()
    };
    insta::assert_snapshot!(fresh(spec).unwrap_err());
}

#[test]
fn a_profile_that_names_an_unknown_class_is_to_blame() {
    let spec = ClusterSpec { profile: Some("broken".into()), ..ClusterSpec::default() };
    insta::assert_snapshot!(fresh(spec).unwrap_err());
}

#[test]
fn an_unknown_profile_is_said_once() {
    let refused = fresh(ClusterSpec { profile: Some("edge".into()), ..ClusterSpec::default() }).unwrap_err();
    assert_eq!(refused.all().map(Refusal::reason).collect::<Vec<_>>(), ["UnknownProfile"]);
}

#[test]
fn channels_choose_for_new_clusters() {
    let version = |channel| fresh(ClusterSpec { channel, ..ClusterSpec::default() }).unwrap().version;
    assert_eq!(version(None), "v1.36.3");
    assert_eq!(version(Some(Channel::Stable)), "v1.36.3");
    assert_eq!(version(Some(Channel::Preview)), "v1.37.0");
}

#[test]
fn publishing_a_release_upgrades_nobody() {
    let mut running =
        fresh(ClusterSpec { version: Some("v1.35.4".into()), ..ClusterSpec::default() }).unwrap();
    running.image = "old/image:1".into();
    let next = again(ClusterSpec::default(), &running).unwrap();
    assert_eq!((next.version.as_str(), next.image.as_str()), ("v1.35.4", "skep.dev/kube:v1.35.4"));
}

#[test]
fn a_withdrawn_or_retired_release_keeps_running() {
    let mut running = fresh(ClusterSpec::default()).unwrap();
    running.version = "v1.36.0".into();
    running.image = "skep.dev/kube:v1.36.0".into();
    for version in [None, Some("v1.36.0".to_owned())] {
        let next = again(ClusterSpec { version, ..ClusterSpec::default() }, &running).unwrap();
        assert_eq!(next.image, "skep.dev/kube:v1.36.0");
    }
    running.version = "v1.34.9".into();
    assert!(
        again(ClusterSpec { version: Some("v1.34.9".into()), ..ClusterSpec::default() }, &running).is_ok()
    );
    let refused =
        fresh(ClusterSpec { version: Some("v1.34.9".into()), ..ClusterSpec::default() }).unwrap_err();
    assert_eq!(refused.first().reason(), "RetiredVersion");
}

#[test]
fn versions_move_as_upstream_allows() {
    let running = fresh(ClusterSpec { version: Some("v1.35.4".into()), ..ClusterSpec::default() }).unwrap();
    let status = ControlPlaneStatus { version: Some("v1.35.4".into()), ..Default::default() };
    let to = |version: &str| {
        let cluster = cluster(ClusterSpec { version: Some(version.into()), ..ClusterSpec::default() });
        let running = Running { spec: &running, status: Some(&status) };
        resolve(&cluster, &catalogue(), &cell(), Some(running)).map(|spec| spec.version)
    };
    assert_eq!(to("v1.36.3").unwrap(), "v1.36.3");
    insta::assert_snapshot!(to("v1.37.0").unwrap_err());
}

#[test]
fn what_cannot_change_stays() {
    let mut running = fresh(ClusterSpec::default()).unwrap();
    running.network.pod_cidr = "10.0.0.0/16".into();
    running.datastore.name = "second".into();
    let next = again(ClusterSpec::default(), &running).unwrap();
    assert_eq!((&next.network, &next.datastore), (&running.network, &running.datastore));
    let moved = ClusterSpec { network: Some(ClusterNetwork::default()), ..ClusterSpec::default() };
    assert_eq!(again(moved, &running).unwrap_err().first(), &Refusal::NetworkChanged);
}

#[test]
fn tenants_go_where_there_is_room() {
    let mut full = candidate("full");
    full.tenants = full.max_tenants;
    let mut paused = candidate("paused");
    paused.closed = true;
    let mut asleep = candidate("asleep");
    asleep.ready = false;
    let mut busy = candidate("busy");
    busy.tenants = 10;
    let place = |datastores: &[&crate::datastore::Candidate]| {
        let mut cell = cell();
        cell.datastores = datastores.iter().map(|c| (*c).clone()).collect();
        resolve(&cluster(ClusterSpec::default()), &catalogue(), &cell, None).map(|spec| spec.datastore.name)
    };
    assert_eq!(place(&[&full, &paused, &asleep, &busy]).unwrap(), "busy");
    assert_eq!(place(&[&busy, &candidate("main")]).unwrap(), "main");
    assert_eq!(place(&[&full, &asleep]).unwrap(), "asleep");
    insta::assert_snapshot!(place(&[&full, &paused]).unwrap_err());
    insta::assert_snapshot!(place(&[]).unwrap_err());
}
