//! Plans for named changes, and the completeness of the table of effects.

use proptest::prelude::*;
use skep_api::cluster::{ClusterSpec, Size};
use skep_api::resources::{Availability, Flag};

use super::*;
use crate::fixtures::{catalogue, cell, cluster};
use crate::resolve;

fn spec(change: impl FnOnce(&mut ClusterSpec)) -> ControlPlaneSpec {
    let mut spec = ClusterSpec { version: Some("v1.35.4".into()), ..ClusterSpec::default() };
    change(&mut spec);
    resolve(&cluster(spec), &catalogue(), &cell(), None).unwrap()
}

fn plan(change: impl FnOnce(&mut ClusterSpec)) -> Plan {
    diff(Some(&spec(|_| {})), &spec(change))
}

#[test]
fn the_same_is_no_change() {
    let plan = plan(|_| {});
    assert!(plan.is_empty() && plan.steps.is_empty());
    assert_eq!(plan.to_string(), "No changes.\n");
}

#[test]
fn creation() {
    insta::assert_snapshot!(diff(None, &spec(|_| {})));
}

#[test]
fn a_new_version_rolls_the_api_servers_first() {
    insta::assert_snapshot!(plan(|s| s.version = Some("v1.36.3".into())));
}

#[test]
fn a_new_size() {
    insta::assert_snapshot!(plan(|s| s.size = Some(Size { class: "large".into() })));
}

#[test]
fn high_availability_scales_the_api_server_and_restarts_the_controllers() {
    let plan = plan(|s| s.availability = Some(Availability::HighlyAvailable));
    let actions: Vec<_> = plan.steps.iter().map(|step| step.action).collect();
    assert_eq!(actions, [Action::Scale, Action::Restart, Action::Restart]);
}

#[test]
fn a_flag_touches_its_program_only() {
    let flag = Flag { name: "v".into(), value: "4".into() };
    let plan = plan(|s| s.flags.get_or_insert_default().scheduler.push(flag));
    assert_eq!(plan.steps.len(), 1);
    assert_eq!((plan.steps[0].program, plan.steps[0].action), (Program::KubeScheduler, Action::Restart));
    assert_eq!(plan.changes[0].field, "scheduler.flags[v]");
}

#[test]
fn another_gateway_address_touches_no_program() {
    let old = spec(|_| {});
    let mut new = old.clone();
    new.endpoint.server = "https://10.0.0.1:6443".into();
    assert!(diff(Some(&old), &new).steps.is_empty());
    new.endpoint.host = "demo.example.com".into();
    let actions: Vec<_> = diff(Some(&old), &new).steps.iter().map(|s| s.action).collect();
    assert_eq!(actions, [Action::Reissue, Action::Restart, Action::Restart]);
}

#[test]
fn a_paused_cluster_says_so() {
    let plan = plan(|s| s.reconciliation = skep_api::resources::Reconciliation::Paused);
    assert!(plan.to_string().contains("paused"));
}

/// A field that somebody adds to the spec must get a row in the table.
#[test]
fn every_field_has_a_row() {
    let mut full = spec(|s| s.availability = Some(Availability::HighlyAvailable));
    let flag = Flag { name: "v".into(), value: "4".into() };
    full.api_server.flags.push(flag.clone());
    full.controller_manager.flags.push(flag.clone());
    full.scheduler.flags.push(flag);
    let leaves = fields::flatten(&serde_json::to_value(&full).unwrap());
    for field in leaves.keys() {
        assert!(fields::row(field).is_some(), "{field} has no row in EFFECTS");
    }
    let crd = skep_api::crds().into_iter().find(|crd| crd.spec.names.kind == "ControlPlane").unwrap();
    let crd = serde_json::to_value(crd).unwrap();
    let of_spec =
        &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    for field in of_spec.as_object().unwrap().keys() {
        assert!(fields::knows(field), "{field} has no row in EFFECTS");
    }
}

proptest! {
    /// Whatever two specs differ in, the plan is empty exactly when they are equal, and each step has a reason that
    /// is one of the changes.
    #[test]
    fn steps_come_from_changes(
        replicas in 1i32..4, memory in "[1-4]Gi", flag in prop::option::of("[a-z]{2,5}"), minor in 35u32..37,
    ) {
        let old = spec(|_| {});
        let mut new = old.clone();
        new.api_server.replicas = replicas;
        new.scheduler.resources.memory_request = memory;
        new.version = format!("v1.{minor}.4");
        new.controller_manager.flags.extend(flag.map(|name| Flag { name, value: String::new() }));
        let plan = diff(Some(&old), &new);
        prop_assert_eq!(plan.is_empty(), old == new);
        for step in &plan.steps {
            prop_assert!(!step.because.is_empty());
            prop_assert!(step.because.iter().all(|why| plan.changes.iter().any(|change| change.field == *why)));
        }
        let order: Vec<_> = plan.steps.iter().map(|step| step.program).collect();
        prop_assert!(order.is_sorted());
        let back: Plan = serde_json::from_value(serde_json::to_value(&plan).unwrap()).unwrap();
        prop_assert_eq!(back, plan);
    }
}
