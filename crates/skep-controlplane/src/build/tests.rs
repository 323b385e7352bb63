//! The manifests as they are written, and what must hold for all of them.

use std::collections::BTreeSet;

use skep_api::resources::Flag;
use skep_plan::flags;

use super::*;
use crate::fixtures::{manifests, owner};

fn workload(manifests: &Manifests, program: Program) -> &Workload {
    manifests.workloads.iter().find(|workload| workload.program == program).unwrap()
}

fn pod(workload: &Workload) -> &k8s_openapi::api::core::v1::PodSpec {
    workload.deployment.spec.as_ref().unwrap().template.spec.as_ref().unwrap()
}

fn args(workload: &Workload) -> Vec<String> {
    pod(workload).containers[0].args.clone().unwrap()
}

fn highly_available() -> skep_api::ControlPlane {
    owner(|spec| {
        spec.api_server.replicas = 2;
        spec.controller_manager.replicas = 2;
        spec.scheduler.replicas = 2;
    })
}

#[test]
fn single() {
    let all = manifests(&owner(|_| {}));
    for workload in &all.workloads {
        insta::assert_yaml_snapshot!(workload.program.name(), workload.deployment);
    }
    insta::assert_yaml_snapshot!("files", all.config);
    insta::assert_yaml_snapshot!("policies", all.policies);
    assert!(all.budgets.is_empty(), "one copy has nothing to budget with");
}

#[test]
fn several_copies_have_budgets_and_elect_leaders() {
    let all = manifests(&highly_available());
    insta::assert_yaml_snapshot!("budgets", all.budgets);
    for program in [Program::KubeControllerManager, Program::KubeScheduler] {
        assert!(args(workload(&all, program)).contains(&"--leader-elect=true".to_owned()), "{program}");
    }
    for workload in &all.workloads {
        let strategy = workload.deployment.spec.as_ref().unwrap().strategy.as_ref().unwrap();
        assert_eq!(strategy.type_.as_deref(), Some("RollingUpdate"), "{}", workload.program);
    }
}

#[test]
fn every_flag_that_is_set_is_refused_to_others() {
    for owner in [owner(|_| {}), highly_available()] {
        for workload in &manifests(&owner).workloads {
            for arg in args(workload) {
                let name = arg.trim_start_matches("--").split('=').next().unwrap().to_owned();
                let pace = name.starts_with("kube-api-");
                assert!(
                    pace || flags::refuses(workload.program, &name).is_some(),
                    "{}: {name}",
                    workload.program
                );
            }
        }
    }
}

#[test]
fn no_flag_is_set_twice() {
    for workload in &manifests(&owner(|_| {})).workloads {
        let args = args(workload);
        let names: BTreeSet<_> = args.iter().map(|arg| arg.split('=').next()).collect();
        assert_eq!(names.len(), args.len(), "{}", workload.program);
    }
}

#[test]
fn only_the_program_that_signs_mounts_the_authoritys_key() {
    let all = manifests(&owner(|_| {}));
    for workload in &all.workloads {
        let secrets: Vec<_> = pod(workload)
            .volumes
            .iter()
            .flatten()
            .filter_map(|volume| volume.secret.as_ref()?.secret_name.clone())
            .collect();
        assert!(!secrets.contains(&names::AUTHORITIES.to_owned()), "{}", workload.program);
        assert!(!secrets.contains(&names::ADMIN.to_owned()), "{}", workload.program);
    }
}

#[test]
fn a_pods_revision_follows_what_is_in_it() {
    let revision =
        |owner: &skep_api::ControlPlane, program| workload(&manifests(owner), program).revision.clone();
    let base = owner(|_| {});
    let scaled = owner(|spec| spec.api_server.replicas = 3);
    let flagged = owner(|spec| {
        spec.api_server.flags.push(Flag { name: "v".into(), value: "4".into() });
    });
    let renamed = owner(|spec| spec.size_class = "large".into());
    let api = Program::KubeApiserver;
    assert_eq!(revision(&base, api), revision(&scaled, api), "scaling replaces nothing");
    assert_eq!(revision(&base, api), revision(&renamed, api), "a name replaces nothing");
    assert_ne!(revision(&base, api), revision(&flagged, api));
    for program in [Program::KubeControllerManager, Program::KubeScheduler] {
        assert_eq!(revision(&base, program), revision(&flagged, program));
    }
}

#[test]
fn extra_flags_come_last() {
    let all = manifests(&owner(|spec| {
        spec.scheduler.flags.push(Flag { name: "v".into(), value: "4".into() });
    }));
    assert_eq!(args(workload(&all, Program::KubeScheduler)).last().map(String::as_str), Some("--v=4"));
}

/// What the plan announces is what the manifests do.
#[test]
fn the_plan_tells_the_truth_about_restarts() {
    type Change = fn(&mut skep_api::ControlPlaneSpec);
    let changes: [(&str, Change); 9] = [
        ("version", |s| s.version = "v1.36.4".into()),
        ("image", |s| s.image = "skep.dev/kube:v1.36.4".into()),
        ("sizeClass", |s| s.size_class = "large".into()),
        ("reconciliation", |s| s.reconciliation = skep_api::resources::Reconciliation::Paused),
        ("endpoint.server", |s| s.endpoint.server = "https://127.0.0.1:7443".into()),
        ("apiServer.maxRequestsInflight", |s| s.api_server.max_requests_inflight = 10),
        ("apiServer.resources", |s| s.api_server.resources.memory_request = "2Gi".into()),
        ("controllerManager.resources", |s| {
            s.controller_manager.resources.go_mem_limit = Some("50MiB".into())
        }),
        ("scheduler.flags", |s| s.scheduler.flags.push(Flag { name: "v".into(), value: "4".into() })),
    ];
    let before = owner(|_| {});
    for (name, change) in changes {
        let after = owner(change);
        let plan = skep_plan::diff(Some(&before.spec), &after.spec);
        for program in Program::ALL {
            let replaced = workload(&manifests(&before), program).revision
                != workload(&manifests(&after), program).revision;
            let announced = plan.steps.iter().any(|step| {
                let stops =
                    matches!(step.action, skep_plan::diff::Action::Roll | skep_plan::diff::Action::Restart);
                step.program == program && stops
            });
            assert_eq!(announced, replaced, "{name}: {program}");
        }
    }
}
