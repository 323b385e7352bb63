//! A datastore's life on a real etcd.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, Preconditions};
use skep_api::TenantId;
use skep_pki::Reason;

use super::cell::{Cell, eventually};
use super::ctl::Ctl;
use crate::{Removal, TenantStore};

#[tokio::test]
async fn tenants_come_and_go() {
    let cell = Cell::serving().await;
    let (own, demo): (_, TenantId) = (cell.reference(), "demo-1".parse().unwrap());
    let tenant = Ctl::tenant(&cell, "demo-1").await;
    let neighbour = Ctl::tenant(&cell, "demo-10").await;
    assert!(neighbour.run("put /skep/demo-10/key value").await.ok);
    for i in 0..30 {
        assert!(tenant.run(&format!("put /skep/demo-1/k{i:03} v")).await.ok);
    }
    assert_eq!(cell.store.usage(&own, &demo).await.unwrap().keys, 30);
    let api = cell.api();
    let tenants = async |wanted| {
        eventually("the number of tenants", async || {
            (api.get("main").await.unwrap().status?.tenants == Some(wanted)).then_some(())
        })
        .await
    };
    tenants(2).await;
    assert_eq!(cell.store.remove(&own, &demo).await.unwrap(), Removal::Done);
    assert_eq!(cell.store.remove(&own, &demo).await.unwrap(), Removal::Done, "again, as after a lost answer");
    assert_eq!(cell.store.usage(&own, &demo).await.unwrap().keys, 0);
    assert!(!tenant.run("put /skep/demo-1/late v").await.ok, "shut out");
    assert!(neighbour.run("get /skep/demo-10/key").await.text.contains("value"));
    tenants(1).await;
}

#[tokio::test]
async fn etcd_away_and_back_with_all_data() {
    let mut cell = Cell::serving().await;
    let tenant = Ctl::tenant(&cell, "demo-1").await;
    assert!(tenant.run("put /skep/demo-1/key value").await.ok);
    let (own, demo): (_, TenantId) = (cell.reference(), "demo-1".parse().unwrap());
    cell.kill_member().await;
    let error = cell.store.usage(&own, &demo).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    // Which of the two it says depends on who notices first, the operator or the kubelet.
    let reason = cell.wait_for("Ready", "False").await;
    assert!(["Starting", "Unreachable"].contains(&reason.as_str()), "{reason}");
    cell.start_member().await;
    // The connection that was there before finds its way back.
    eventually("an answer", async || cell.store.usage(&own, &demo).await.ok()).await;
    assert_eq!(cell.wait_for("Ready", "True").await, "Serving");
    assert!(tenant.run("get /skep/demo-1/key").await.text.contains("value"));
}

#[tokio::test]
async fn history_is_dropped_and_tenants_are_told() {
    let cell = Cell::serving().await;
    let tenant = Ctl::tenant(&cell, "demo-1").await;
    let told = async || {
        let said = tenant.run("get compact_rev_key --print-value-only").await;
        said.text.trim().parse::<i64>().ok()
    };
    assert_eq!(eventually("a first mark", &told).await, 0, "nothing was dropped yet");
    for value in ["old", "new"] {
        assert!(tenant.run(&format!("put /skep/demo-1/key {value}")).await.ok);
    }
    let opened = cell.datastores.get(&cell.reference()).await.unwrap();
    let mut dropped = 0;
    for _ in 0..2 {
        opened.connection.an_interval_passes().await;
        opened.connection.drop_history().await.unwrap();
        let now = told().await.unwrap();
        assert!(now > dropped, "{now} after {dropped}");
        dropped = now;
    }
    let at = async |revision| tenant.run(&format!("get --rev={revision} /skep/demo-1/key")).await;
    let gone = at(dropped - 1).await;
    assert!(gone.text.contains("required revision has been compacted"), "{gone:?}");
    assert!(at(dropped).await.text.contains("new"));
}

/// Somebody deletes the authorities: everything is issued anew, etcd is told by a restart, tenants by their next pass.
#[tokio::test]
async fn lost_authorities_are_replaced() {
    let mut cell = Cell::serving().await;
    let before = cell.ensure("demo-1").await;
    let digest = trust_digest(&cell.stateful_set().await);
    let secrets: Api<Secret> = Api::namespaced(cell.client.clone(), &cell.namespace);
    let old = secrets.get("main-ca").await.unwrap().data;
    let cell_ref = &cell;
    eventually("a new digest", async || {
        lose(&secrets, "main-ca", &old).await;
        (trust_digest(&cell_ref.stateful_set().await) != digest).then_some(())
    })
    .await;
    cell.kill_member().await;
    cell.start_member().await;
    cell.wait_for("Ready", "True").await;
    let demo: TenantId = "demo-1".parse().unwrap();
    let (own, store) = (cell.reference(), &cell.store);
    let after =
        eventually("access", async || store.ensure(&own, &demo, Some(&before.client.pair)).await.ok()).await;
    assert_eq!(after.client.issued, Some(Reason::OtherAuthority));
    let tenant = Ctl::new(&cell, "demo-1", &after.server_ca_pem, &after.client.pair);
    assert!(tenant.run("put /skep/demo-1/key value").await.ok);
}

/// etcd reads renewed certificates by itself.
#[tokio::test]
async fn renewed_certificates_need_no_restart() {
    let cell = Cell::serving().await;
    let secrets: Api<Secret> = Api::namespaced(cell.client.clone(), &cell.namespace);
    let old = secrets.get("main-server").await.unwrap().data;
    let digest = trust_digest(&cell.stateful_set().await);
    eventually("a new certificate", async || {
        lose(&secrets, "main-server", &old).await;
        secrets.get_opt("main-server").await.unwrap().filter(|now| now.data != old)
    })
    .await;
    cell.mount().await;
    let tenant = Ctl::tenant(&cell, "demo-1").await;
    let said = tenant.run("put /skep/demo-1/key value").await;
    assert!(said.ok, "{said:?}");
    assert_eq!(trust_digest(&cell.stateful_set().await), digest, "nothing to restart for");
}

#[tokio::test]
async fn an_empty_datastore_goes_and_one_in_use_stays() {
    let cell = Cell::serving().await;
    let (own, demo): (_, TenantId) = (cell.reference(), "demo-1".parse().unwrap());
    cell.ensure("demo-1").await;
    cell.api().delete("main", &DeleteParams::default()).await.unwrap();
    // A pass that began before says how it was then.
    eventually("a refusal", async || (cell.wait_for("Ready", "False").await == "InUse").then_some(())).await;
    let late: TenantId = "late-1".parse().unwrap();
    let refused = cell.store.ensure(&own, &late, None).await.map(drop);
    let status = cell.api().get("main").await.unwrap().status;
    let says = matches!(&refused, Err(error) if error.to_string().contains("takes no new tenants"));
    assert!(says, "{refused:?} {status:?}");
    while cell.store.remove(&own, &demo).await.unwrap() != Removal::Done {}
    let api = cell.api();
    // The removal itself has the datastore looked at again.
    eventually("the end", async || api.get_opt("main").await.unwrap().is_none().then_some(())).await;
    let sets: Api<StatefulSet> = Api::namespaced(cell.client.clone(), &cell.namespace);
    assert!(sets.get_opt("main").await.unwrap().is_none_or(|s| s.metadata.deletion_timestamp.is_some()));
}

/// Deletes a Secret if it still holds this, and not what a pass has made of it since. A pass that has read it already
/// writes the same again: then nothing was lost, and it takes another call.
async fn lose(secrets: &Api<Secret>, name: &str, old: &Option<BTreeMap<String, ByteString>>) {
    let Some(found) = secrets.get_opt(name).await.unwrap().filter(|found| found.data == *old) else { return };
    let (uid, resource_version) = (found.metadata.uid, found.metadata.resource_version);
    let preconditions = Some(Preconditions { uid, resource_version });
    let _ = secrets.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await;
}

fn trust_digest(set: &StatefulSet) -> Option<String> {
    let template = set.spec.as_ref()?.template.metadata.as_ref()?;
    template.annotations.as_ref()?.get("skep.dev/trust-digest").cloned()
}
