//! What a datastore says and does in good and bad luck.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;
use skep_api::ControlPlane;
use skep_kubeops::Next;
use skep_testkit::FakeApiServer;

use super::cell::{
    api, condition, control_plane, manifest, now, pass, reconcile, reconciler, server, staged,
};
use crate::etcd::stage::{FakeEtcd, Moment, Stage};

/// A server with the datastore in it, and its etcd.
async fn cell() -> (FakeApiServer, Client, FakeEtcd) {
    let server = server();
    let client = server.client();
    api(&client).create(&PostParams::default(), &manifest()).await.unwrap();
    (server, client, FakeEtcd::default())
}

#[tokio::test]
async fn from_nothing_to_serving() {
    let (_, client, etcd) = cell().await;
    let operator = reconciler(&client, &etcd);
    pass(&operator, &client).await.unwrap();
    let status = now(&client).await.unwrap().status.unwrap();
    assert_eq!(status.version.as_deref(), Some("v3.7.3"));
    assert_eq!(status.endpoints, ["https://127.64.9.181:2379"]);
    assert_eq!((status.tenants, status.observed_generation), (Some(0), Some(1)));
    assert_eq!(condition(&client, "Ready").await.0, "True Serving");
    assert!(etcd.with(|held| held.auth));
}

#[tokio::test]
async fn etcd_gone_for_a_minute() {
    let (_, client, etcd) = cell().await;
    let operator = reconciler(&client, &etcd);
    pass(&operator, &client).await.unwrap();
    etcd.with(|held| held.away = true);
    let next = reconcile(&operator, now(&client).await.unwrap()).await.unwrap();
    assert_eq!(next, Next::After(super::super::reconcile::LOOK_AGAIN));
    let (ready, message) = condition(&client, "Ready").await;
    assert_eq!(ready, "False Unreachable");
    assert!(message.contains("connection refused"), "{message}");
    etcd.with(|held| held.away = false);
    pass(&operator, &client).await.unwrap();
    assert_eq!(condition(&client, "Ready").await.0, "True Serving");
}

#[tokio::test]
async fn any_call_to_etcd_may_fail() {
    let (_, client, etcd) = cell().await;
    let stage = Stage::with(&etcd);
    stage.fail(None);
    pass(&staged(&client, &stage), &client).await.unwrap();
    let calls = stage.calls().len();
    assert!(calls > 8);
    for k in 1..=calls {
        for moment in [Moment::Before, Moment::After] {
            let (_, client, etcd) = cell().await;
            let stage = Stage::with(&etcd);
            stage.fail(Some((k, moment)));
            pass(&staged(&client, &stage), &client).await.unwrap();
            assert_ne!(condition(&client, "Ready").await.0, "True Serving", "call {k} {moment:?}");
            pass(&reconciler(&client, &etcd), &client).await.unwrap();
            assert_eq!(condition(&client, "Ready").await.0, "True Serving", "call {k} {moment:?}");
            assert!(etcd.with(|held| held.auth));
        }
    }
}

#[tokio::test]
async fn a_reached_quota_is_said_and_the_alarm_goes_when_there_is_room() {
    let (_, client, etcd) = cell().await;
    let operator = reconciler(&client, &etcd);
    etcd.with(|held| held.no_space = true);
    // The database in memory is small: there is room, so the alarm is switched off in the same pass.
    pass(&operator, &client).await.unwrap();
    assert_eq!(condition(&client, "Ready").await.0, "True Serving");
    assert!(!etcd.with(|held| held.no_space));
}

#[tokio::test]
async fn a_paused_datastore_is_left_alone() {
    let (server, client, etcd) = cell().await;
    let pause = json!({"spec": {"reconciliation": "Paused", "quota": "1Gi"}});
    api(&client).patch("main", &PatchParams::default(), &Patch::Merge(pause)).await.unwrap();
    pass(&reconciler(&client, &etcd), &client).await.unwrap();
    assert!(server.objects("statefulsets.apps").is_empty() && server.objects("secrets").is_empty());
    assert_eq!(condition(&client, "Paused").await.0, "True Requested");
    let resume = json!({"spec": {"reconciliation": "Active"}});
    api(&client).patch("main", &PatchParams::default(), &Patch::Merge(resume)).await.unwrap();
    let operator = reconciler(&client, &etcd);
    pass(&operator, &client).await.unwrap();
    assert_eq!(condition(&client, "Paused").await.0, "False Active");
    // Paused in full service: still says how it is.
    let pause = json!({"spec": {"reconciliation": "Paused", "quota": "2Gi"}});
    api(&client).patch("main", &PatchParams::default(), &Patch::Merge(pause)).await.unwrap();
    pass(&operator, &client).await.unwrap();
    let set = &server.objects("statefulsets.apps")[0];
    assert!(set.to_string().contains("--quota-backend-bytes=1073741824"), "not changed");
    assert_eq!(condition(&client, "Ready").await.0, "True Serving");
}

#[tokio::test]
async fn a_spec_that_cannot_be_built_changes_nothing() {
    let (server, client, etcd) = cell().await;
    let bad = json!({"spec": {"quota": "11Gi"}});
    api(&client).patch("main", &PatchParams::default(), &Patch::Merge(bad)).await.unwrap();
    let error = reconcile(&reconciler(&client, &etcd), now(&client).await.unwrap()).await.unwrap_err();
    assert!(error.to_string().starts_with("SKEP-5005: "));
    assert_eq!(condition(&client, "Ready").await, ("False InvalidSpec".into(), error.to_string()));
    assert!(server.objects("statefulsets.apps").is_empty());
}

#[tokio::test]
async fn lost_secrets_come_back() {
    let (server, client, etcd) = cell().await;
    let operator = reconciler(&client, &etcd);
    pass(&operator, &client).await.unwrap();
    let secrets: Api<Secret> = Api::namespaced(client.clone(), "skep-system");
    for name in ["main-root", "main-server", "main-ca"] {
        secrets.delete(name, &DeleteParams::default()).await.unwrap();
        pass(&operator, &client).await.unwrap();
        assert!(secrets.get_opt(name).await.unwrap().is_some(), "{name}");
        assert_eq!(condition(&client, "Ready").await.0, "True Serving");
    }
    assert_eq!(server.objects("secrets").len(), 3);
}

async fn delete(client: &Client) {
    api(client).delete("main", &DeleteParams::default()).await.unwrap();
}

#[tokio::test]
async fn a_datastore_in_use_is_never_deleted() {
    let (server, client, etcd) = cell().await;
    pass(&reconciler(&client, &etcd), &client).await.unwrap();
    let planes: Api<ControlPlane> = Api::namespaced(client.clone(), "skep-system");
    planes.create(&PostParams::default(), &control_plane("demo-1")).await.unwrap();
    delete(&client).await;
    for _ in 0..3 {
        pass(&reconciler(&client, &etcd), &client).await.unwrap();
    }
    let (ready, message) = condition(&client, "Ready").await;
    assert_eq!(ready, "False InUse");
    assert!(message.contains("it holds 1 tenant (demo-1); delete their clusters first"), "{message}");
    assert_eq!(server.objects("statefulsets.apps").len(), 1);

    // The control plane is gone, but its keys may be there.
    planes.delete("demo-1", &DeleteParams::default()).await.unwrap();
    etcd.with(|held| held.roles.insert("demo-1".into(), Vec::new()));
    pass(&reconciler(&client, &etcd), &client).await.unwrap();
    assert!(condition(&client, "Ready").await.1.contains("whose control planes are gone"));

    // Nobody can say whether it is empty.
    etcd.with(|held| held.away = true);
    pass(&reconciler(&client, &etcd), &client).await.unwrap();
    assert!(condition(&client, "Ready").await.1.contains("cannot be asked whether it holds tenants"));

    etcd.with(|held| (held.away, held.roles) = (false, [].into()));
    pass(&reconciler(&client, &etcd), &client).await.unwrap();
    assert!(now(&client).await.is_none(), "empty at last");
    assert!(server.objects("statefulsets.apps").is_empty() && server.objects("secrets").is_empty());
}

/// A lease is no fence: two operators may be at work for a moment.
#[tokio::test]
async fn two_operators_agree_on_one_authority() {
    let (server, client, etcd) = cell().await;
    let (one, two) = (reconciler(&client, &etcd), reconciler(&client, &etcd));
    let seen = now(&client).await.unwrap();
    let (first, second) = tokio::join!(reconcile(&one, seen.clone()), reconcile(&two, seen));
    let failed = [first, second].into_iter().filter_map(Result::err).collect::<Vec<_>>();
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert!(failed[0].to_string().contains("main-ca"), "{failed:?}");
    let ca = |server: &FakeApiServer| {
        let secrets = server.objects("secrets");
        secrets.iter().find(|s| s["metadata"]["name"] == "main-ca").unwrap()["data"].clone()
    };
    let before = ca(&server);
    pass(&one, &client).await.unwrap();
    pass(&two, &client).await.unwrap();
    assert_eq!(ca(&server), before);
    assert_eq!(condition(&client, "Ready").await.0, "True Serving");
}
