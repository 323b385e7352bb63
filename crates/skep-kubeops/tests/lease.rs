//! One leads; a stop hands over at once, a death after the lease's duration, a loss ends the work first.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::{Api, Client};
use serde_json::json;
use skep_kubeops::{
    Cache, Metrics,
    lease::{LeaseConfig, LeaseError, lead},
    watch::{Change, Select, changes},
};
use skep_testkit::{ApiServer, Backend, FakeApiServer, Fault, FaultLayer};
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

type Ended = Result<Option<&'static str>, LeaseError>;

/// A process that wants to lead: it says when its work starts and stops.
struct Contender {
    shutdown: CancellationToken,
    task: JoinHandle<Ended>,
    says: mpsc::UnboundedReceiver<&'static str>,
}

impl Contender {
    fn start(client: Client, namespace: &str, identity: &str) -> Self {
        let (say, says) = mpsc::unbounded_channel();
        let shutdown = CancellationToken::new();
        let config = LeaseConfig::new(namespace, "operator", identity);
        let work = move |stop: CancellationToken| async move {
            say.send("starts").unwrap();
            stop.cancelled().await;
            say.send("stops").unwrap();
            "done"
        };
        let task = tokio::spawn(lead(client, config, Some(Metrics::new()), shutdown.clone(), work));
        Self { shutdown, task, says }
    }

    async fn says(&mut self, wanted: &str) {
        let said = timeout(Duration::from_secs(600), self.says.recv()).await.expect("in time");
        assert_eq!(said, Some(wanted));
    }

    async fn silent(&mut self, time: Duration) {
        assert!(timeout(time, self.says.recv()).await.is_err(), "it said something");
    }
}

async fn holder(client: &Client, namespace: &str) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(client.clone(), namespace);
    leases.get("operator").await.unwrap().spec.unwrap().holder_identity
}

#[tokio::test(start_paused = true)]
async fn a_clean_stop_hands_over_at_once() {
    let client = FakeApiServer::new().client();
    assert!(hand_over(client, "default").await < Duration::from_secs(5), "it waited for the lease to expire");
}

#[tokio::test]
async fn a_clean_stop_hands_over_on_a_real_server() {
    let server = ApiServer::shared().await.unwrap();
    let client = server.client().await.unwrap();
    let namespace = server.namespace(&client, "lease").await.unwrap();
    hand_over(client, &namespace).await;
}

/// Gives how long nobody led.
async fn hand_over(client: Client, namespace: &str) -> Duration {
    let mut first = Contender::start(client.clone(), namespace, "one");
    first.says("starts").await;
    assert_eq!(holder(&client, namespace).await.as_deref(), Some("one"));
    let mut second = Contender::start(client.clone(), namespace, "two");
    second.silent(Duration::from_secs(3)).await;
    let select = Select::named("operator").namespace(namespace);
    let mut seen = changes::<Lease>(client.clone(), select, Cache::new());
    while !matches!(seen.next().await, Some(Change::Synced)) {}
    first.shutdown.cancel();
    let before = Instant::now();
    first.says("stops").await;
    second.says("starts").await;
    let nobody_led = before.elapsed();
    let mut holders = vec![Some("one".to_owned())];
    while holders.last() != Some(&Some("two".to_owned())) {
        if let Some(Change::Applied(lease)) = seen.next().await {
            holders.push(lease.spec.as_ref().unwrap().holder_identity.clone());
        }
    }
    holders.dedup();
    assert_eq!(holders, [Some("one".to_owned()), None, Some("two".to_owned())], "given back, not expired");
    assert!(matches!(first.task.await.unwrap(), Ok(Some("done"))));
    assert_eq!(holder(&client, namespace).await.as_deref(), Some("two"));
    nobody_led
}

#[tokio::test(start_paused = true)]
async fn a_holder_keeps_the_lease_and_a_dead_one_loses_it_after_its_duration() {
    let client = FakeApiServer::new().client();
    let mut first = Contender::start(client.clone(), "default", "one");
    first.says("starts").await;
    let mut second = Contender::start(client.clone(), "default", "two");
    second.silent(Duration::from_secs(600)).await;
    first.task.abort();
    let died = Instant::now();
    second.says("starts").await;
    let waited = died.elapsed();
    assert!((Duration::from_secs(9)..=Duration::from_secs(16)).contains(&waited), "{waited:?}");
}

#[tokio::test(start_paused = true)]
async fn who_comes_back_with_its_old_identity_need_not_wait() {
    let client = FakeApiServer::new().client();
    let mut first = Contender::start(client.clone(), "default", "one");
    first.says("starts").await;
    first.task.abort();
    let again = Instant::now();
    let mut same = Contender::start(client, "default", "one");
    same.says("starts").await;
    assert_eq!(again.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn work_stops_before_another_can_start_when_the_server_is_out_of_reach() {
    let fake = FakeApiServer::new();
    // Calls: list, create, first renewal; the renewal is never answered, and nothing after it.
    let layer = FaultLayer::failing(3, Fault::CrashBefore);
    let cut_off = Backend::Fake(fake.clone()).client(Some(&layer)).await.unwrap();
    let mut first = Contender::start(cut_off, "default", "one");
    first.says("starts").await;
    let started = Instant::now();
    let mut second = Contender::start(fake.client(), "default", "two");
    first.says("stops").await;
    let stopped = started.elapsed();
    let error = first.task.await.unwrap().unwrap_err().to_string();
    assert!(error.starts_with("the lease operator was lost: it could not be renewed"), "{error}");
    second.says("starts").await;
    assert!(stopped <= Duration::from_secs(10), "{stopped:?}");
    assert!(started.elapsed() >= Duration::from_secs(15), "the other waited for the whole duration");
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_another_ends_the_work() {
    let fake = FakeApiServer::new();
    let mut first = Contender::start(fake.client(), "default", "one");
    first.says("starts").await;
    fake.edit("leases.coordination.k8s.io", "default", "operator", |lease| {
        lease["spec"]["holderIdentity"] = json!("usurper");
    });
    first.says("stops").await;
    let error = first.task.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("usurper holds it now"), "{error}");
    assert_eq!(holder(&fake.client(), "default").await.as_deref(), Some("usurper"), "and it is not touched");
}

#[tokio::test(start_paused = true)]
async fn short_troubles_do_not_end_the_work() {
    for fault in [
        Fault::Unavailable,
        Fault::Conflict,
        Fault::TimeoutBefore,
        Fault::TimeoutAfter,
        Fault::TooManyRequests,
    ] {
        let layer = FaultLayer::failing(3, fault);
        let client = Backend::Fake(FakeApiServer::new()).client(Some(&layer)).await.unwrap();
        let mut only = Contender::start(client, "default", "one");
        only.says("starts").await;
        only.silent(Duration::from_secs(120)).await;
        assert!(layer.calls().len() > 20, "it goes on renewing after {fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_at_once_exactly_one_leads() {
    let client = FakeApiServer::new().client();
    let mut contenders: Vec<_> =
        ["a", "b", "c", "d"].map(|name| Contender::start(client.clone(), "default", name)).into();
    sleep(Duration::from_secs(60)).await;
    let leading = contenders.iter_mut().filter_map(|contender| contender.says.try_recv().ok()).count();
    assert_eq!(leading, 1);
}

#[tokio::test(start_paused = true)]
async fn a_stop_while_waiting_ends_the_waiting() {
    let client = FakeApiServer::new().client();
    let mut first = Contender::start(client.clone(), "default", "one");
    first.says("starts").await;
    let second = Contender::start(client, "default", "two");
    sleep(Duration::from_secs(1)).await;
    second.shutdown.cancel();
    assert!(matches!(second.task.await.unwrap(), Ok(None)));
}
