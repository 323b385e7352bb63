//! Golden statuses: what people read in every state of a datastore.

use k8s_openapi::api::apps::v1::{StatefulSet, StatefulSetStatus};
use k8s_openapi::jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::etcd::Health;
use crate::reconcile::validate::tests::{datastore, wanted};

fn set(ready: i32, updated: i32) -> Observation {
    let stateful_set: StatefulSet = serde_json::from_value(json!({
        "metadata": {"name": "main", "generation": 2}, "spec": {"replicas": 1},
    }))
    .unwrap();
    let status = StatefulSetStatus {
        observed_generation: Some(2),
        ready_replicas: Some(ready),
        updated_replicas: Some(updated),
        ..StatefulSetStatus::default()
    };
    Observation {
        stateful_set: Some(StatefulSet { status: Some(status), ..stateful_set }),
        ..Observation::default()
    }
}

fn answer(alarms: Vec<Alarm>, has_leader: bool) -> Store {
    let health =
        Health { version: "v3.7.3".into(), size: 20_480, in_use: 16_384, quota: 8 << 30, has_leader, alarms };
    Store::Answering(Answer { health, tenants: vec!["a".into(), "b".into()], history: None })
}

/// The conditions in a line each, and the rest.
fn shown(
    old: &DatastoreStatus,
    store: &Store,
    seen: &Observation,
    built: &Result<Certificates, Error>,
) -> String {
    let wanted = wanted();
    let pass = Pass { wanted: Some(&wanted), built: Some(built), store, seen: Some(seen), refusal: None };
    render(&of(old, &datastore(), &pass, &Time(Timestamp::UNIX_EPOCH)))
}

fn render(status: &DatastoreStatus) -> String {
    let mut text = String::new();
    for c in &status.conditions {
        text += &format!("{} {} {}: {}\n", c.type_, c.status, c.reason, c.message);
    }
    text + &format!(
        "endpoints {:?} version {:?} tenants {:?} bytes {:?} observed {:?}\n",
        status.endpoints, status.version, status.tenants, status.database_bytes, status.observed_generation
    )
}

fn failed() -> Result<Certificates, Error> {
    let source = skep_pki::Authority::from_pem("", "").unwrap_err();
    Err(Error::CertificateFailed { datastore: "skep-system/main".into(), source })
}

fn built() -> Result<Certificates, Error> {
    Ok(crate::reconcile::certificates::tests::certificates())
}

#[test]
fn statuses() {
    let fresh = DatastoreStatus::default();
    let silent = Store::Silent("connection refused".into());
    let nothing = Observation::default();
    let mut text = String::new();
    for (name, store, seen, built) in [
        ("just created", &silent, &nothing, built()),
        ("pod starting", &silent, &set(0, 1), built()),
        ("serving", &answer(vec![], true), &set(1, 1), built()),
        ("being replaced", &answer(vec![], true), &set(1, 0), built()),
        ("ready but silent", &silent, &set(1, 1), built()),
        ("full", &answer(vec![Alarm::NoSpace], true), &set(1, 1), built()),
        ("damaged", &answer(vec![Alarm::Corrupt], true), &set(1, 1), built()),
        ("no leader", &answer(vec![], false), &set(1, 1), built()),
        ("certificates failed", &Store::Unknown("it never answered".into()), &set(1, 1), failed()),
    ] {
        text += &format!("## {name}\n{}", shown(&fresh, store, seen, &built));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn what_a_pass_did_not_learn_stays() {
    let wanted = wanted();
    let seen = set(1, 1);
    let (good, built) = (answer(vec![], true), built());
    let pass =
        |store| Pass { wanted: Some(&wanted), built: Some(&built), store, seen: Some(&seen), refusal: None };
    let before = of(&DatastoreStatus::default(), &datastore(), &pass(&good), &Time(Timestamp::UNIX_EPOCH));
    let silent = Store::Silent("gone".into());
    let after = of(&before, &datastore(), &pass(&silent), &Time(Timestamp::UNIX_EPOCH));
    assert_eq!((after.version.as_deref(), after.tenants), (Some("v3.7.3"), Some(2)));
    assert!(!condition::is_true(&after.conditions, ConditionType::Ready));
}

#[test]
fn small_growth_is_not_worth_a_write() {
    let wanted = wanted();
    let (seen, built) = (set(1, 1), built());
    let size = |size| {
        let Store::Answering(mut a) = answer(vec![], true) else { unreachable!() };
        a.health.size = size;
        Store::Answering(a)
    };
    let pass = |old: &DatastoreStatus, bytes| {
        let store = size(bytes);
        let pass = Pass {
            wanted: Some(&wanted),
            built: Some(&built),
            store: &store,
            seen: Some(&seen),
            refusal: None,
        };
        of(old, &datastore(), &pass, &Time(Timestamp::UNIX_EPOCH))
    };
    let first = pass(&DatastoreStatus::default(), 1 << 20);
    assert_eq!(pass(&first, (2 << 20) - 1), first);
    assert_eq!(pass(&first, 2 << 20).database_bytes, Some(2 << 20));
}

#[test]
fn a_refused_spec_says_why() {
    let mut bad = datastore();
    bad.spec.quota = "20Gi".into();
    let config = crate::reconcile::validate::tests::config();
    let error = Wanted::of(&bad, &config).unwrap_err();
    let status = of(&DatastoreStatus::default(), &bad, &Pass::refused(&error), &Time(Timestamp::UNIX_EPOCH));
    insta::assert_snapshot!(render(&status));
}
