use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde_json::json;
use skep_api::cluster::Phase;
use skep_api::condition::{self, ConditionType};
use skep_api::{Cluster, ClusterStatus, ControlPlane};
use skep_testkit::objects;

use super::*;

fn now() -> Time {
    Time(Timestamp::from_second(1_000).unwrap())
}

fn cluster() -> Cluster {
    let mut cluster = Cluster::new("demo", Default::default());
    cluster.metadata.namespace = Some("shop".to_owned());
    cluster.metadata.uid = Some("uid-1".to_owned());
    cluster.metadata.generation = Some(3);
    cluster
}

/// A control plane of generation 2 that reports on `observed`.
fn control_plane(observed: Option<i64>, ready: bool, progressing: bool) -> ControlPlane {
    let condition = |type_: &str, status: bool| {
        json!({"type": type_, "status": if status { "True" } else { "False" }, "reason": "Because",
            "message": format!("{type_} said so"), "lastTransitionTime": "1970-01-01T00:00:01Z"})
    };
    let status = json!({"observedGeneration": observed, "version": "v1.36.3", "kubeconfigSecret": "admin",
        "conditions": [condition("Ready", ready), condition("Progressing", progressing)]});
    let mut object = objects::control_plane("v1.36.3", |_| {});
    object.metadata.generation = Some(2);
    object.status = serde_json::from_value(status).unwrap();
    object
}

fn applied(control_plane: ControlPlane) -> Outcome {
    Outcome::Applied(Arc::new(control_plane))
}

fn refused() -> skep_plan::Refused {
    skep_plan::Refusal::UnknownProfile { asked: "gold".to_owned(), known: vec!["standard".to_owned()] }.into()
}

#[test]
fn phases_follow_what_the_cell_reports() {
    let served = Cluster {
        status: Some(ClusterStatus { version: Some("v1.36.3".into()), ..Default::default() }),
        ..cluster()
    };
    let fresh = cluster();
    let phase_of = |cluster: &Cluster, outcome: &Outcome| of(cluster, outcome, &Ok(None), &now()).phase;
    let mut unreported = control_plane(None, false, false);
    unreported.status = None;
    for (cluster, outcome, expected) in [
        (&fresh, applied(unreported.clone()), Phase::Provisioning),
        (&served, applied(unreported), Phase::Degraded),
        (&served, applied(control_plane(Some(2), false, false)), Phase::Degraded),
        (&served, applied(control_plane(Some(2), true, false)), Phase::Ready),
        (&served, applied(control_plane(Some(2), true, true)), Phase::Updating),
        (&served, applied(control_plane(Some(1), true, false)), Phase::Updating),
        (&served, Outcome::Refused(refused(), None), Phase::Refused),
        (&served, Outcome::Paused(None), Phase::Paused),
    ] {
        assert_eq!(phase_of(cluster, &outcome), Some(expected));
    }
}

#[test]
fn what_others_say_is_left_to_them() {
    let mut cluster = cluster();
    let of_another = r#"{"conditions": [{"type": "AutoscalerReady", "status": "True", "reason": "Running",
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z"}]}"#;
    cluster.status = Some(serde_json::from_str(of_another).unwrap());
    let applied = of(&cluster, &applied(control_plane(Some(1), true, false)), &Ok(None), &now());
    for status in [own(&cluster), applied, deleting(&cluster, "", &now())] {
        assert_eq!(condition::get(&status.conditions, ConditionType::AutoscalerReady), None);
    }
}

#[test]
fn the_generation_is_observed_only_when_the_spec_is_fulfilled() {
    let mut cluster = cluster();
    let status = of(&cluster, &applied(control_plane(Some(1), true, true)), &Ok(None), &now());
    assert_eq!(status.observed_generation, None);
    let ready = condition::get(&status.conditions, ConditionType::Ready).unwrap();
    // It serves, but not yet what generation 3 asks for: `kubectl wait` must go on waiting.
    assert_eq!((ready.status.as_str(), ready.observed_generation), ("True", None));

    let status = of(&cluster, &applied(control_plane(Some(2), true, false)), &Ok(None), &now());
    assert_eq!(status.observed_generation, Some(3));
    cluster.status = Some(status);
    cluster.metadata.generation = Some(4);
    let status = of(&cluster, &Outcome::Refused(refused(), None), &Ok(None), &now());
    assert_eq!(status.observed_generation, Some(3));
    let accepted = condition::get(&status.conditions, ConditionType::Accepted).unwrap();
    assert_eq!((accepted.status.as_str(), accepted.observed_generation), ("False", Some(4)));
    assert!(accepted.message.contains("standard"), "{}", accepted.message);
}

#[test]
fn what_is_known_stays_known_while_nothing_new_is() {
    let mut cluster = cluster();
    cluster.status = Some(of(
        &cluster,
        &applied(control_plane(Some(2), true, false)),
        &Ok(Some("demo-kubeconfig".into())),
        &now(),
    ));
    let status = of(&cluster, &Outcome::Refused(refused(), None), &Ok(None), &now());
    assert_eq!(status.version.as_deref(), Some("v1.36.3"));
    assert_eq!(status.kubeconfig_secret.as_deref(), Some("demo-kubeconfig"));
}

#[test]
fn the_same_outcome_gives_the_same_status() {
    let mut cluster = cluster();
    let outcome = applied(control_plane(Some(2), true, false));
    let first = of(&cluster, &outcome, &Ok(None), &now());
    cluster.status = Some(first.clone());
    let later = Time(Timestamp::from_second(2_000).unwrap());
    assert_eq!(of(&cluster, &outcome, &Ok(None), &later), first);
}

fn taken() -> Error {
    Error::Foreign { kind: "Namespace".to_owned(), object: "demo-x".to_owned() }
}

#[test]
fn a_pass_that_failed_says_so_and_observes_nothing() {
    let cluster = cluster();
    let status = of(&cluster, &Outcome::Failed(taken(), None), &Ok(None), &now());
    for type_ in [ConditionType::Ready, ConditionType::Progressing] {
        let condition = condition::get(&status.conditions, type_).unwrap();
        assert_eq!(condition.status, if type_ == ConditionType::Ready { "False" } else { "True" });
        assert_eq!(condition.reason, "ForeignObject");
        assert!(condition.message.contains("Namespace demo-x exists"), "{}", condition.message);
    }
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::Provisioning), None));
    // It serves, but nobody can be given its kubeconfig.
    let served = applied(control_plane(Some(2), true, false));
    let status = of(&cluster, &served, &Err(taken()), &now());
    assert_eq!((status.phase, status.observed_generation), (Some(Phase::Updating), None));
    assert!(condition::is_true(&status.conditions, ConditionType::Ready));
    assert!(condition::is_true(&status.conditions, ConditionType::Progressing));
}

#[test]
fn what_a_paused_cluster_asks_for_was_not_looked_at() {
    let mut cluster = cluster();
    cluster.spec.reconciliation = Reconciliation::Paused;
    let status = of(&cluster, &Outcome::Paused(None), &Ok(None), &now());
    assert!(condition::get(&status.conditions, ConditionType::Accepted).is_none());
    assert!(condition::is_true(&status.conditions, ConditionType::Paused));
    assert!(!condition::is_true(&status.conditions, ConditionType::Progressing));
}

#[test]
fn a_change_is_under_way_as_long_as_the_cell_is_at_it() {
    let mut cluster = cluster();
    cluster.status = Some(ClusterStatus { version: Some("v1.36.3".into()), ..Default::default() });
    let step = |cluster: &Cluster, outcome: Outcome| {
        let status = of(cluster, &outcome, &Ok(None), &now());
        let step = condition::get(&status.conditions, ConditionType::Progressing).unwrap().clone();
        (step.status == "True", step.message)
    };
    let said = "Progressing said so".to_owned();
    let moving = |ready| control_plane(Some(1), ready, true);
    assert_eq!(step(&cluster, applied(moving(true))), (true, said.clone()));
    assert_eq!(step(&cluster, applied(moving(false))), (true, said.clone()), "degraded meanwhile");
    let refused_since = Outcome::Refused(refused(), Some(Arc::new(moving(true))));
    assert_eq!(step(&cluster, refused_since), (true, said));
    let unseen = step(&cluster, applied(control_plane(Some(1), true, false)));
    assert_eq!(unseen, (true, "the cell has not taken the change up yet".to_owned()));
    let down = step(&cluster, applied(control_plane(Some(2), false, false)));
    assert_eq!(down, (false, "nothing is under way".to_owned()));
}
