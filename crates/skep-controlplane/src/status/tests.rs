//! Conditions for what a pass can come to.

use k8s_openapi::jiff::Timestamp;
use proptest::prelude::*;
use skep_plan::rollout::{BEHIND, Gate};

use super::*;
use crate::fixtures::owner;
use crate::observe::Trouble;

fn copies(program: Program, ready: usize, old_ready: usize, trouble: Option<Trouble>) -> Copies {
    Copies { program, wanted: 1, ready, old: old_ready, old_ready, trouble }
}

fn api(version: &str, ready: bool) -> Copy {
    Copy { version: version.parse().unwrap(), ready }
}

fn waits(message: &str) -> Gate {
    Gate::Waits { reason: BEHIND, message: message.into() }
}

fn report<'a>(programs: [Copies; 3], api_servers: Vec<Copy>) -> Report<'a> {
    Report {
        certificates: Phase::Done,
        datastore: Phase::Done,
        objects: Phase::Done,
        programs: programs.map(|copies| (copies, Gate::Open)).to_vec(),
        api_servers,
    }
}

fn render(report: &Report<'_>) -> String {
    let status = of(&owner(|_| {}), report, &Time(Timestamp::UNIX_EPOCH));
    let mut lines: Vec<String> = status
        .conditions
        .iter()
        .map(|c| format!("{}={} {}: {}", c.type_, c.status, c.reason, c.message))
        .collect();
    lines.push(format!(
        "version {:?} highest {:?} ready {:?} observed {:?}",
        status.version, status.highest_version, status.ready_api_servers, status.observed_generation
    ));
    lines.join("\n")
}

fn all(ready: usize) -> [Copies; 3] {
    Program::ALL.map(|program| copies(program, ready, 0, None))
}

#[test]
fn starting() {
    insta::assert_snapshot!(render(&report(all(0), vec![api("v1.36.3", false)])));
}

#[test]
fn serving() {
    insta::assert_snapshot!(render(&report(all(1), vec![api("v1.36.3", true)])));
}

#[test]
fn an_upgrade_under_way() {
    let mut report = report(all(1), vec![api("v1.36.3", true), api("v1.35.4", true)]);
    report.programs[0].0 = copies(Program::KubeApiserver, 1, 1, None);
    report.programs[1].1 = waits("kube-controller-manager waits for 1 copy");
    insta::assert_snapshot!(render(&report));
}

#[test]
fn a_new_copy_that_fails_beside_one_that_serves() {
    let trouble = Trouble { reason: "ProgramFails", message: "pod x: unknown flag".into() };
    let mut report = report(all(1), vec![api("v1.36.3", true), api("v1.36.3", false)]);
    report.programs[0].0 = copies(Program::KubeApiserver, 0, 1, Some(trouble));
    insta::assert_snapshot!(render(&report));
}

#[test]
fn a_controller_that_fails() {
    let trouble = Trouble { reason: "ProgramFails", message: "pod y: cannot read".into() };
    let mut report = report(all(1), vec![api("v1.36.3", true)]);
    report.programs[1].0 = copies(Program::KubeControllerManager, 0, 0, Some(trouble));
    insta::assert_snapshot!(render(&report));
}

#[test]
fn a_datastore_that_is_away() {
    let error = Error::Datastore(skep_datastore::Error::DatastoreUnavailable {
        datastore: "skep-system/main".into(),
        reason: "connection refused".into(),
    });
    let report = Report {
        datastore: Phase::Failed(&error),
        objects: Phase::NotReached,
        programs: Vec::new(),
        ..report(all(1), vec![api("v1.36.3", true)])
    };
    insta::assert_snapshot!(render(&report));
}

#[test]
fn the_highest_version_is_never_forgotten() {
    let mut owner = owner(|_| {});
    owner.status = Some(ControlPlaneStatus { highest_version: Some("v1.36.3".into()), ..Default::default() });
    let status = of(&owner, &report(all(0), vec![]), &Time(Timestamp::UNIX_EPOCH));
    assert_eq!((status.version, status.highest_version.as_deref()), (None, Some("v1.36.3")));
}

proptest! {
    /// The generation is taken as fulfilled exactly when nothing is left to do.
    #[test]
    fn observed_means_settled(ready in prop::array::uniform3(0usize..2), old in prop::array::uniform3(0usize..2), held: bool) {
        let mut report = report(Program::ALL.map(|p| copies(p, ready[p as usize], old[p as usize], None)), vec![]);
        if held {
            report.programs[2].1 = waits("later");
        }
        let done = ready == [1; 3] && old == [0; 3] && !held;
        let status = of(&owner(|_| {}), &report, &Time(Timestamp::UNIX_EPOCH));
        prop_assert_eq!(status.observed_generation, done.then_some(1));
        prop_assert_eq!(condition::is_true(&status.conditions, ConditionType::Progressing), !done);
        for condition in &status.conditions {
            prop_assert!(!condition.message.is_empty() && !condition.reason.is_empty());
        }
    }
}
