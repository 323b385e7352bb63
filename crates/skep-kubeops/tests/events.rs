//! Events reach the server, repetitions become a count, and nobody ever waits for them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use k8s_openapi::api::{core::v1::ConfigMap, events::v1::Event};
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use skep_kubeops::{Metrics, Recorder, events::Severity};
use skep_testkit::{ApiServer, Backend, FakeApiServer, Fault, FaultLayer, PATIENCE};
use tokio::time::{Instant, sleep, timeout};

async fn object(client: &Client, namespace: &str) -> ConfigMap {
    let metadata = ObjectMeta { name: Some("a".into()), ..ObjectMeta::default() };
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &ConfigMap { metadata, ..ConfigMap::default() }).await.unwrap()
}

async fn events(client: &Client, namespace: &str, count: usize) -> Vec<Event> {
    let api: Api<Event> = Api::namespaced(client.clone(), namespace);
    let wait = async {
        loop {
            let list = api.list(&Default::default()).await.unwrap().items;
            if list.len() >= count {
                return list;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the events are there in time")
}

#[tokio::test]
async fn an_event_says_who_did_what_to_which_object() {
    let server = ApiServer::shared().await.unwrap();
    let real = server.client().await.unwrap();
    let namespace = server.namespace(&real, "events").await.unwrap();
    for (client, namespace) in [(FakeApiServer::new().client(), "default".to_owned()), (real, namespace)] {
        let object = object(&client, &namespace).await;
        let recorder = Recorder::new(client.clone(), "skep-operator", "host-1");
        // Longer than the API takes: it is cut, at a character.
        let message = "ü".repeat(1000);
        recorder.publish(&object, Severity::Warning, "NoCapacity", "Place", message);
        let event = events(&client, &namespace, 1).await.remove(0);
        assert_eq!(event.reason.as_deref(), Some("NoCapacity"));
        assert_eq!(event.action.as_deref(), Some("Place"));
        assert_eq!(event.type_.as_deref(), Some("Warning"));
        assert_eq!(event.note.unwrap().len(), 1024);
        assert_eq!(event.reporting_controller.as_deref(), Some("skep-operator"));
        let regarding = event.regarding.unwrap();
        assert_eq!((regarding.kind.as_deref(), regarding.uid), (Some("ConfigMap"), object.metadata.uid));
    }
}

#[tokio::test(start_paused = true)]
async fn repetitions_become_a_count() {
    let fake = FakeApiServer::new();
    let layer = FaultLayer::counting();
    let client = Backend::Fake(fake.clone()).client(Some(&layer)).await.unwrap();
    let object = object(&fake.client(), "default").await;
    let recorder = Recorder::new(client, "skep-operator", "host-1");
    for _ in 0..121 {
        recorder.publish(&object, Severity::Normal, "Same", "Test", "the same");
        sleep(Duration::from_secs(1)).await;
    }
    let events = events(&fake.client(), "default", 1).await;
    assert_eq!(events.len(), 1);
    assert_eq!(events[0].series.as_ref().unwrap().count, 121);
    assert_eq!(layer.calls().len(), 3, "one creation, an update a minute");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_hangs_costs_events_and_nothing_else() {
    let layer = FaultLayer::failing(1, Fault::CrashBefore);
    let client = Backend::Fake(FakeApiServer::new()).client(Some(&layer)).await.unwrap();
    let metrics = Metrics::new();
    let recorder = Recorder::new(client, "skep-operator", "host-1").metrics(&metrics);
    let before = Instant::now();
    for number in 0..1000 {
        recorder.publish(&ConfigMap::default(), Severity::Normal, "Many", "Test", number.to_string());
    }
    assert_eq!(before.elapsed(), Duration::ZERO);
    let text = metrics.encode().unwrap();
    assert!(text.contains("skep_events_dropped_total 744"), "256 wait, the rest is dropped: {text}");
}
