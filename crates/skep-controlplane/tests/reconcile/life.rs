//! Creation, rest, trouble, deletion: one step at a time.

use std::{collections::BTreeSet, sync::Arc};

use anyhow::Result;
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use serde_json::{Value, json};
use skep_api::condition::ConditionType::{
    CertificatesReady, ControlPlaneReady, DatastoreReady, Paused, Progressing, Ready,
};
use skep_controlplane::Error;
use skep_datastore::fake::Failure;
use skep_kubeops::{Classify as _, Key, Next, Reconciler as _};
use skep_testkit::objects::TENANT;

use crate::cell::{Cell, control_plane, failing, ready};

#[tokio::test]
async fn a_control_plane_is_made_in_one_pass() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    let calls = cell.counted_pass().await?;
    // What is written at once may come in any order.
    insta::assert_yaml_snapshot!(calls.iter().collect::<BTreeSet<_>>());
    assert_eq!(
        cell.names("deployments.apps"),
        ["kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    );
    assert!(cell.store.tenant(&Cell::datastore(), &Cell::tenant()).is_some_and(|tenant| tenant.access));
    assert!(cell.condition(Ready).starts_with("False Starting"), "{}", cell.condition(Ready));
    assert!(cell.condition(DatastoreReady).starts_with("True"));
    assert!(cell.condition(CertificatesReady).starts_with("True"));
    assert_eq!(cell.control_plane().unwrap().status.unwrap().observed_generation, None);
    Ok(())
}

#[tokio::test]
async fn only_so_many_start_at_a_time() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    let reconciler = cell.reconciler(cell.fake.client());
    let other = cell.plant_other("zz-2345abcd")?;
    let taken = Key::of(&other);
    reconciler.reconcile(Arc::new(other)).await?;
    // Everything is prepared but the programs.
    let next = cell.pass(&reconciler).await?;
    assert!(matches!(next, Next::After(pause) if pause.as_secs() < 60), "{next:?}");
    assert_eq!(cell.names("deployments.apps"), [] as [&str; 0]);
    assert!(cell.condition(CertificatesReady).starts_with("True"));
    assert!(
        cell.condition(Progressing).starts_with("True WaitsForItsTurn: 1 "),
        "{}",
        cell.condition(Progressing)
    );
    reconciler.deleted(&taken);
    cell.pass(&reconciler).await?;
    assert_eq!(cell.names("deployments.apps").len(), 3);
    // Who has been started is not held back by others, and gives its place back when it serves.
    cell.run_pods(&ready).await?;
    cell.pass(&reconciler).await?;
    let other = cell.plant_other("zz-3456abcd")?;
    reconciler.reconcile(Arc::new(other)).await?;
    let started = cell.fake.objects("deployments.apps").into_iter();
    assert_eq!(started.filter(|one| one["metadata"]["namespace"] == "zz-3456abcd").count(), 3);
    Ok(())
}

#[tokio::test]
async fn it_is_ready_when_its_pods_are() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    cell.fresh_pass().await?;
    cell.run_pods(&ready).await?;
    cell.fresh_pass().await?;
    let object = cell.control_plane().unwrap();
    let mut status = object.status.unwrap();
    for condition in &mut status.conditions {
        condition.last_transition_time.0 = Timestamp::UNIX_EPOCH;
    }
    insta::assert_yaml_snapshot!(status);
    Ok(())
}

#[tokio::test]
async fn nothing_is_written_when_nothing_changed() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    let reconciler = cell.reconciler(cell.fake.client());
    cell.pass(&reconciler).await?;
    cell.run_pods(&ready).await?;
    cell.pass(&reconciler).await?;
    let before = cell.backend.state().await?;
    let next = cell.pass(&reconciler).await?;
    assert!(matches!(next, Next::After(_)), "{next:?}: certificates have to be renewed one day");
    assert_eq!(cell.backend.state().await?, before);
    Ok(())
}

#[tokio::test]
async fn a_datastore_that_is_not_ready_is_waited_for() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    cell.store.fail([Failure::NotReady]);
    let error = cell.fresh_pass().await.unwrap_err();
    assert_eq!(error.reason(), "DatastoreNotReady");
    assert!(cell.condition(DatastoreReady).starts_with("False DatastoreNotReady"));
    assert!(cell.condition(Progressing).starts_with("True DatastoreNotReady"));
    assert!(cell.condition(Ready).starts_with("False DatastoreNotReady"));
    assert!(cell.names("deployments.apps").is_empty());
    cell.fresh_pass().await?;
    assert_eq!(cell.names("deployments.apps").len(), 3);
    Ok(())
}

#[tokio::test]
async fn an_outage_of_the_datastore_leaves_what_runs_alone() -> Result<()> {
    let cell = running().await?;
    let before = cell.objects("deployments.apps");
    cell.store.fail([Failure::Unavailable]);
    let error = cell.fresh_pass().await.unwrap_err();
    assert_eq!(error.reason(), "DatastoreUnavailable");
    assert_eq!(cell.objects("deployments.apps"), before);
    assert!(cell.condition(DatastoreReady).starts_with("False DatastoreUnavailable"));
    assert!(cell.condition(Ready).starts_with("True Serving"), "{}", cell.condition(Ready));
    Ok(())
}

#[tokio::test]
async fn a_paused_control_plane_is_left_alone() -> Result<()> {
    let cell = running().await?;
    cell.change(|spec| {
        spec["reconciliation"] = json!("Paused");
        spec["apiServer"]["replicas"] = json!(3);
    });
    let before = cell.objects("deployments.apps");
    cell.fresh_pass().await?;
    assert_eq!(cell.objects("deployments.apps"), before);
    assert!(cell.condition(Paused).starts_with("True"));
    cell.change(|spec| spec["reconciliation"] = json!("Active"));
    cell.fresh_pass().await?;
    assert_eq!(cell.objects("deployments.apps")[0]["spec"]["replicas"], 3);
    assert!(cell.condition(Paused).starts_with("False"));
    Ok(())
}

#[tokio::test]
async fn lost_authorities_are_never_replaced() -> Result<()> {
    let cell = running().await?;
    let secret = |name: &str| cell.objects("secrets").into_iter().find(|s| s["metadata"]["name"] == name);
    let kept = secret("kube-apiserver");
    let api: Api<Secret> = Api::namespaced(cell.fake.client(), TENANT);
    api.delete("authorities", &Default::default()).await?;
    let error = cell.fresh_pass().await.unwrap_err();
    assert!(matches!(error, Error::AuthoritiesLost { .. }), "{error}");
    assert_eq!((secret("authorities"), secret("kube-apiserver")), (None, kept));
    assert!(cell.condition(CertificatesReady).starts_with("False AuthoritiesLost"));
    assert!(cell.condition(Ready).starts_with("True Serving"), "what runs goes on");
    Ok(())
}

#[tokio::test]
async fn nobody_gets_at_another_tenants_keys() -> Result<()> {
    let cell = Cell::new()?;
    let mut object = control_plane(|spec| spec.tenant = "victim-abcd2345".into());
    object.metadata.finalizers = Some(vec!["skep.dev/control-plane".into()]);
    cell.create(&object).await?;
    let error = cell.fresh_pass().await.unwrap_err();
    assert_eq!(error.reason(), "Spec");
    cell.delete().await?;
    cell.fresh_pass().await?;
    assert!(cell.control_plane().is_none(), "it can be deleted");
    assert_eq!(cell.store.calls(), Vec::<String>::new(), "and nobody's keys were touched");
    Ok(())
}

#[tokio::test]
async fn a_lost_deployment_or_policy_comes_back_and_strangers_go() -> Result<()> {
    let cell = running().await?;
    let owner = cell.control_plane().unwrap();
    let api: Api<NetworkPolicy> = Api::namespaced(cell.fake.client(), TENANT);
    api.delete("default-deny", &Default::default()).await?;
    let stale = |name: &str, uid: &str| {
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": TENANT,
            "labels": {"app.kubernetes.io/managed-by": "skep", "skep.dev/tenant": TENANT},
            "ownerReferences": [{"apiVersion": "skep.dev/v1alpha1", "kind": "ControlPlane", "name": TENANT, "uid": uid}]}})
    };
    cell.fake.plant(stale("of-an-older-version", owner.metadata.uid.as_deref().unwrap_or_default()));
    cell.fake.plant(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "somebody-elses", "namespace": TENANT}}));
    cell.fresh_pass().await?;
    assert_eq!(cell.names("networkpolicies.networking.k8s.io").len(), 3);
    assert_eq!(cell.names("configmaps"), ["kube-apiserver", "somebody-elses"]);
    Ok(())
}

#[tokio::test]
async fn budgets_come_and_go_with_the_copies() -> Result<()> {
    let cell = running().await?;
    assert!(cell.names("poddisruptionbudgets.policy").is_empty());
    cell.change(|spec| spec["apiServer"]["replicas"] = json!(2));
    cell.fresh_pass().await?;
    assert_eq!(cell.names("poddisruptionbudgets.policy"), ["kube-apiserver"]);
    cell.change(|spec| spec["apiServer"]["replicas"] = json!(1));
    cell.fresh_pass().await?;
    assert!(cell.names("poddisruptionbudgets.policy").is_empty());
    Ok(())
}

#[tokio::test]
async fn the_programs_own_words_reach_the_condition() -> Result<()> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    cell.fresh_pass().await?;
    let say = |pod: &Value| match pod["metadata"]["labels"]["skep.dev/component"].as_str() {
        Some("kube-apiserver") => failing("E1121 noise\nError: unknown flag: --no-such-flag\n"),
        _ => ready(pod),
    };
    cell.run_pods(&say).await?;
    cell.fresh_pass().await?;
    insta::assert_snapshot!(format!(
        "{}\n{}\n{}",
        cell.condition(Ready),
        cell.condition(ControlPlaneReady),
        cell.condition(Progressing)
    ));
    Ok(())
}

#[tokio::test]
async fn deletion_stops_the_programs_then_takes_the_keys_then_goes() -> Result<()> {
    let cell = running().await?;
    cell.store.write_keys(&Cell::datastore(), &Cell::tenant(), 100);
    cell.delete().await?;
    // The garbage collector of a real cluster deletes pods with the grace they ask for.
    let api: Api<Pod> = Api::namespaced(cell.fake.client(), TENANT);
    for name in cell.names("pods") {
        cell.fake.edit("pods", TENANT, &name, |pod| pod["metadata"]["ownerReferences"] = json!([]));
        api.delete(&name, &Default::default()).await?;
    }
    let calls = cell.counted_pass().await?;
    assert!(cell.names("deployments.apps").is_empty());
    assert!(cell.condition(Ready).starts_with("False Deleting: its programs"), "{}", cell.condition(Ready));
    assert_eq!(cell.objects("pods").len(), 3, "a kubelet has not ended them yet");
    // What a shorter grace does to a pod that is ending already is upstream's and not in the API server in memory.
    let hurried = calls.iter().filter(|call| call.starts_with("DELETE") && call.contains("/pods/")).count();
    assert_eq!(hurried, 3, "nobody is left to be served: {calls:?}");
    let calls = cell.store.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("remove")),
        "keys go after the last API server: {calls:?}"
    );
    cell.run_pods(&ready).await?;
    cell.store.fail([Failure::Partial]);
    let next = cell.fresh_pass().await?;
    assert!(matches!(next, Next::After(pause) if pause.as_secs() < 1), "{next:?}");
    cell.fresh_pass().await?;
    assert!(cell.control_plane().is_none() && cell.store.is_empty());
    let left: Vec<_> =
        ["secrets", "configmaps", "networkpolicies.networking.k8s.io"].map(|kind| cell.names(kind)).concat();
    assert_eq!(left, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn a_paused_control_plane_can_be_deleted() -> Result<()> {
    let cell = running().await?;
    cell.change(|spec| spec["reconciliation"] = json!("Paused"));
    cell.delete().await?;
    for _ in 0..3 {
        cell.fresh_pass().await?;
        cell.run_pods(&ready).await?;
    }
    assert!(cell.control_plane().is_none() && cell.store.is_empty());
    Ok(())
}

#[tokio::test]
async fn a_pod_on_a_lost_node_does_not_hold_a_deletion_for_ever() -> Result<()> {
    let cell = running().await?;
    cell.delete().await?;
    for name in cell.names("pods") {
        cell.fake.edit("pods", TENANT, &name, |pod| {
            pod["metadata"]["ownerReferences"] = json!([]);
            pod["metadata"]["deletionTimestamp"] = json!("2020-01-01T00:00:00Z");
        });
    }
    cell.fresh_pass().await?;
    assert!(!cell.objects("pods").is_empty());
    assert!(cell.control_plane().is_none() && cell.store.is_empty());
    Ok(())
}

/// A control plane that serves.
pub async fn running() -> Result<Cell> {
    let cell = Cell::new()?;
    cell.create(&control_plane(|_| {})).await?;
    cell.fresh_pass().await?;
    cell.run_pods(&ready).await?;
    cell.fresh_pass().await?;
    assert!(cell.condition(Ready).starts_with("True"), "{}", cell.condition(Ready));
    Ok(cell)
}
