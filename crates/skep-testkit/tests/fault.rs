//! The fault layer fails the call it was told to, in the way it was told to.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{
    Api, Client,
    api::{ObjectMeta, PostParams},
};
use skep_testkit::{Backend, FakeApiServer, Fault, FaultLayer};

async fn create(client: &Client, name: &str) -> kube::Result<ConfigMap> {
    let metadata = ObjectMeta { name: Some(name.into()), ..ObjectMeta::default() };
    let object = ConfigMap { metadata, ..ConfigMap::default() };
    Api::<ConfigMap>::namespaced(client.clone(), "default").create(&PostParams::default(), &object).await
}

/// The second of three creations fails; what the caller saw of it, and whether it was done.
async fn second_fails(fault: Fault) -> (String, bool) {
    let fake = FakeApiServer::bare();
    let layer = FaultLayer::failing(2, fault);
    let client = Backend::Fake(fake.clone()).client(Some(&layer)).await.unwrap();
    create(&client, "one").await.unwrap();
    let seen = tokio::select! {
        result = create(&client, "two") => match result.unwrap_err() {
            kube::Error::Api(status) => format!("{} {}", status.code, status.reason),
            _ => "no answer".to_owned(),
        },
        () = layer.crashed() => "crash".to_owned(),
    };
    let done = fake.objects("configmaps").iter().any(|object| object["metadata"]["name"] == "two");
    if seen == "crash" {
        let dead = tokio::time::timeout(std::time::Duration::from_millis(20), create(&client, "three")).await;
        assert!(dead.is_err(), "a dead process makes no calls");
    } else {
        create(&client, "three").await.unwrap();
        assert_eq!(layer.calls().len(), 3);
        assert_eq!(layer.calls()[1].to_string(), "POST /api/v1/namespaces/default/configmaps?");
    }
    (seen, done)
}

#[tokio::test]
async fn each_fault_is_what_it_says() {
    let table = [
        (Fault::Conflict, "409 AlreadyExists", false),
        (Fault::TooManyRequests, "429 TooManyRequests", false),
        (Fault::Unavailable, "503 ServiceUnavailable", false),
        (Fault::TimeoutBefore, "no answer", false),
        (Fault::TimeoutAfter, "no answer", true),
        (Fault::CrashBefore, "crash", false),
        (Fault::CrashAfter, "crash", true),
    ];
    assert_eq!(table.len(), Fault::ALL.len());
    for (fault, seen, done) in table {
        assert_eq!(second_fails(fault).await, (seen.to_owned(), done), "{fault:?}");
    }
}
