//! The running controller: which changes of other objects make it look at a cluster again. The clock is paused and
//! stands far from the slow resync, so only an event can.

use std::time::Duration;

use serde_json::json;
use skep_api::condition::ConditionType::{Accepted, Ready};
use tokio_util::sync::CancellationToken;

use crate::hub::{Hub, delete_secret};

async fn until(what: &str, so: impl Fn() -> bool) {
    let looking = async {
        while !so() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), looking).await.unwrap_or_else(|_| panic!("no {what}"));
}

fn pause_datastore(hub: &Hub, reconciliation: &str) {
    let known = hub.fake.edit("datastores.skep.dev", "skep-system", "main", |datastore| {
        datastore["spec"]["reconciliation"] = json!(reconciliation);
    });
    assert!(known);
}

#[tokio::test(start_paused = true)]
async fn a_cluster_without_a_datastore_goes_on_when_one_has_room() {
    let hub = Hub::with_cluster().await;
    pause_datastore(&hub, "Paused");
    tokio::spawn(skep_fleet::run(Hub::config(hub.fake.client()), CancellationToken::new()));
    until("refusal", || hub.condition(Accepted).starts_with("False NoDatastore")).await;
    pause_datastore(&hub, "Active");
    until("control plane", || hub.control_plane().is_some()).await;
}

#[tokio::test(start_paused = true)]
async fn a_lost_kubeconfig_comes_back() {
    let hub = Hub::with_cluster().await;
    tokio::spawn(skep_fleet::run(Hub::config(hub.fake.client()), CancellationToken::new()));
    until("control plane", || hub.control_plane().is_some()).await;
    hub.cell(&hub.fake.client()).await.unwrap();
    until("kubeconfig", || hub.kubeconfig().is_some()).await;
    until("service", || hub.condition(Ready).starts_with("True")).await;
    delete_secret(&hub).await;
    until("kubeconfig again", || hub.kubeconfig().is_some()).await;
}
