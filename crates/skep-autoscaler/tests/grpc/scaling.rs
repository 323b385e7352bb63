//! What is written: sizes and names, whatever fails on the way and whoever else writes.

use std::sync::atomic::{AtomicUsize, Ordering};

use kube::Client;
use kube::client::Body;
use serde_json::json;
use skep_autoscaler::proto::provider::*;
use skep_testkit::{FakeApiServer, Fault, FaultLayer};
use tonic::{Code, Status};
use tower::ServiceBuilder;

use crate::bed::{self, Caller, Running};

async fn increase(caller: &Caller, delta: i32) -> Result<Nothing, Status> {
    caller.provider("NodeGroupIncreaseSize", ResizeRequest { delta, id: "web".into() }).await
}

async fn decrease(caller: &Caller, delta: i32) -> Result<Nothing, Status> {
    caller.provider("NodeGroupDecreaseTargetSize", ResizeRequest { delta, id: "web".into() }).await
}

async fn delete(caller: &Caller, names: &[&str]) -> Result<Nothing, Status> {
    let node = |name: &&str| ExternalGrpcNode {
        provider_id: format!("skep-local://{name}"),
        name: (*name).to_owned(),
        labels: [("skep.dev/pool".to_owned(), "web".to_owned())].into(),
    };
    let nodes = names.iter().map(node).collect();
    caller.provider("NodeGroupDeleteNodes", DeleteNodesRequest { nodes, id: "web".into() }).await
}

async fn target(caller: &Caller) -> i32 {
    let request = OfGroup { id: "web".into() };
    let answer: TargetSizeResponse = caller.provider("NodeGroupTargetSize", request).await.unwrap();
    answer.target_size
}

fn named(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[tokio::test]
async fn a_size_goes_up_and_down_and_is_seen_at_once() {
    let fake = bed::hub();
    let server = Running::new(bed::provider(fake.client()), true).await;
    let caller = server.caller().await;
    assert_eq!(target(&caller).await, 2);
    increase(&caller, 2).await.unwrap();
    assert_eq!((target(&caller).await, bed::size(&fake, "web")), (4, (4, vec![])));
    let status = increase(&caller, 2).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition);
    assert!(status.message().contains("6 nodes, but spec.scaling allows 1 to 5"), "{}", status.message());
    decrease(&caller, -2).await.unwrap();
    assert_eq!((target(&caller).await, bed::size(&fake, "web")), (2, (2, vec![])));
    assert!(decrease(&caller, -1).await.unwrap_err().message().contains("SKEP-8099"), "both have joined");
    delete(&caller, &["web-1"]).await.unwrap();
    assert_eq!((target(&caller).await, bed::size(&fake, "web")), (1, (1, named(&["web-1"]))));
    delete(&caller, &["web-1"]).await.unwrap();
    assert_eq!(bed::size(&fake, "web").0, 1, "once more is no other machine");
    assert!(delete(&caller, &["web-2"]).await.unwrap_err().message().contains("SKEP-8093"));
    assert!(delete(&caller, &["fixed-1"]).await.unwrap_err().message().contains("SKEP-8094"));
    assert_eq!(bed::size(&fake, "web"), (1, named(&["web-1"])));
}

#[tokio::test]
async fn a_pool_without_a_size_has_its_least() {
    let fake = bed::hub();
    fake.edit("nodepools.skep.dev", bed::NAMESPACE, "web", |pool| {
        pool["spec"]["replicas"] = serde_json::Value::Null;
    });
    let server = Running::new(bed::provider(fake.client()), true).await;
    let caller = server.caller().await;
    assert_eq!(target(&caller).await, 1);
    increase(&caller, 1).await.unwrap();
    assert_eq!(bed::size(&fake, "web").0, 2);
}

/// A hub that fails as the layer says.
fn faulty(fake: &FakeApiServer, fault: &FaultLayer) -> Client {
    Client::new(ServiceBuilder::new().layer(fault.clone()).service(fake.service()), "default")
}

/// A call of a server whose hub fails; `None` when the server died over it.
async fn under(fake: &FakeApiServer, fault: &FaultLayer, grow: bool) -> Option<Result<Nothing, Status>> {
    let server = Running::new(bed::provider(faulty(fake, fault)), true).await;
    let caller = server.caller().await;
    let call = async {
        match grow {
            true => increase(&caller, 1).await,
            false => delete(&caller, &["web-1"]).await,
        }
    };
    tokio::select! {
        answer = call => Some(answer),
        () = fault.crashed() => None,
    }
}

#[tokio::test]
async fn whatever_fails_a_size_is_changed_once_or_not_at_all() {
    for grow in [true, false] {
        let counting = FaultLayer::counting();
        under(&bed::hub(), &counting, grow).await.unwrap().unwrap();
        let calls = counting.calls().len();
        assert!(calls >= 3, "{:?}", counting.calls());
        for (call, fault) in (1..=calls).flat_map(|call| Fault::ALL.map(|fault| (call, fault))) {
            let context = format!("grow {grow}: call {call} fails with {fault:?}");
            let fake = bed::hub();
            let answer = under(&fake, &FaultLayer::failing(call, fault), grow).await;
            let answered = answer.is_some_and(|answer| answer.is_ok());
            let (before, after) = match grow {
                true => ((2, vec![]), (3, vec![])),
                false => ((2, vec![]), (1, named(&["web-1"]))),
            };
            let now = bed::size(&fake, "web");
            assert!(now == after || (!answered && now == before), "{context}: {now:?}");
            if !grow {
                // Upstream asks again, of whoever serves then.
                let server = Running::new(bed::provider(fake.client()), true).await;
                delete(&server.caller().await, &["web-1"]).await.unwrap();
                assert_eq!(bed::size(&fake, "web"), after, "{context}");
            }
        }
    }
}

#[tokio::test]
async fn two_callers_of_one_server_both_get_theirs() {
    let fake = bed::hub();
    let server = Running::new(bed::provider(fake.client()), true).await;
    let (one, two) = (server.caller().await, server.caller().await);
    let (first, second) = tokio::join!(increase(&one, 1), increase(&two, 2));
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(bed::size(&fake, "web").0, 5);
}

#[tokio::test]
async fn two_servers_never_count_a_machine_twice_or_go_below_the_least() {
    let fake = bed::hub();
    let servers = [
        Running::new(bed::provider(fake.client()), true).await,
        Running::new(bed::provider(fake.client()), true).await,
    ];
    let (one, two) = (servers[0].caller().await, servers[1].caller().await);
    let (first, second) = tokio::join!(delete(&one, &["web-1"]), delete(&two, &["web-1"]));
    assert!(first.is_ok() && second.is_ok(), "{first:?} {second:?}");
    assert_eq!(bed::size(&fake, "web"), (1, named(&["web-1"])));

    let fake = bed::hub();
    let servers = [
        Running::new(bed::provider(fake.client()), true).await,
        Running::new(bed::provider(fake.client()), true).await,
    ];
    let (one, two) = (servers[0].caller().await, servers[1].caller().await);
    let (first, second) = tokio::join!(delete(&one, &["web-1"]), delete(&two, &["web-2"]));
    assert!(first.is_ok() != second.is_ok(), "only one of them may go: {first:?} {second:?}");
    let (size, names) = bed::size(&fake, "web");
    assert_eq!((size, names.len()), (1, 1));
}

/// A hub on which somebody writes to pool `web` before each of the first patches of ours.
fn busy(fake: &FakeApiServer, times: usize, change: fn(&mut serde_json::Value, usize)) -> Client {
    let (other, patches) = (fake.clone(), std::sync::Arc::new(AtomicUsize::new(0)));
    let meddle = move |request: http::Request<Body>| {
        if request.method() == http::Method::PATCH {
            let number = patches.fetch_add(1, Ordering::SeqCst);
            if number < times {
                other.edit("nodepools.skep.dev", bed::NAMESPACE, "web", |pool| change(pool, number));
            }
        }
        request
    };
    Client::new(ServiceBuilder::new().map_request(meddle).service(fake.service()), "default")
}

#[tokio::test]
async fn writes_of_others_are_no_obstacle_unless_they_are_about_the_size() {
    let status = |pool: &mut serde_json::Value, number| pool["status"] = json!({"replicas": number});
    // The pool's own controller writes its status all the time.
    let fake = bed::hub();
    let server = Running::new(bed::provider(busy(&fake, 2, status)), true).await;
    increase(&server.caller().await, 1).await.unwrap();
    assert_eq!(bed::size(&fake, "web").0, 3);

    // A person resizes it: it may also have been ourselves, with an answer that got lost.
    let fake = bed::hub();
    let server =
        Running::new(bed::provider(busy(&fake, 1, |pool, _| pool["spec"]["replicas"] = 3.into())), true)
            .await;
    let refused = increase(&server.caller().await, 1).await.unwrap_err();
    assert_eq!((refused.code(), bed::size(&fake, "web").0), (Code::Aborted, 3));

    // Somebody who never stops.
    let fake = bed::hub();
    let server = Running::new(bed::provider(busy(&fake, usize::MAX, status)), true).await;
    let refused = delete(&server.caller().await, &["web-1"]).await.unwrap_err();
    assert_eq!((refused.code(), bed::size(&fake, "web").0), (Code::Aborted, 2));
    assert!(refused.message().contains("SKEP-8097"));
}

#[tokio::test]
async fn without_the_hub_a_call_fails_and_says_so() {
    let fake = bed::hub();
    let fault = FaultLayer::failing(1, Fault::Unavailable);
    let server = Running::new(bed::provider(faulty(&fake, &fault)), true).await;
    let caller = server.caller().await;
    let refused: Result<Nothing, _> = caller.provider("Refresh", Nothing {}).await;
    let status = refused.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("SKEP-8096"), "{}", status.message());
    assert_eq!(target(&caller).await, 2, "the next one is answered");
}
