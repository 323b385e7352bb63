//! The expander, asked as upstream asks it: without a certificate of its own, with marshalled nodes and pods.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use prost::Message as _;
use serde_json::Value;
use skep_autoscaler::proto::core::{Node, ObjectMeta};
use skep_autoscaler::proto::expander::*;
use skep_autoscaler::{Expander, Hub, StockFile};
use skep_kubeops::Recorder;
use skep_testkit::{FakeApiServer, PATIENCE};
use tokio::sync::mpsc::UnboundedReceiver;
use tonic::{Code, Status};

use crate::bed::{self, Caller, Running};

const BEST_OPTIONS: &str = "/grpcplugin.Expander/BestOptions";

/// A pod of upstream's own marshaller: two of it exclude each other in a zone.
fn pod() -> Bytes {
    STANDARD.decode(include_str!("../payloads/pod.b64").trim()).unwrap().into()
}

fn node(zone: &str) -> Vec<u8> {
    let labels = [("topology.kubernetes.io/zone".to_owned(), zone.to_owned())].into();
    let metadata = ObjectMeta { labels, ..Default::default() };
    Node { metadata: Some(metadata), ..Default::default() }.encode_to_vec()
}

/// So many nodes of each group for these pods, each group in a zone.
fn request(options: &[(&str, i32, &str)], pods: &[Bytes]) -> BestOptionsRequest {
    let choice = |(group, count, _): &(&str, i32, &str)| Choice {
        node_group_id: (*group).to_owned(),
        node_count: *count,
        debug: "upstream's".into(),
        pod_bytes: pods.to_vec(),
    };
    BestOptionsRequest {
        options: options.iter().map(choice).collect(),
        node_bytes_map: options.iter().map(|(group, _, zone)| ((*group).to_owned(), node(zone))).collect(),
    }
}

async fn ask(caller: &Caller, request: BestOptionsRequest) -> Result<Vec<(String, String)>, Status> {
    let answer: BestOptionsResponse = caller.call(BEST_OPTIONS, request).await?;
    Ok(answer.options.into_iter().map(|option| (option.node_group_id, option.debug)).collect())
}

/// A hub that passes on the events that are written to it.
fn with_events(fake: FakeApiServer) -> (FakeApiServer, UnboundedReceiver<Value>) {
    let (events, heard) = tokio::sync::mpsc::unbounded_channel();
    let fake = fake.with_reflex("events.events.k8s.io", move |event| {
        let _ = events.send(event.clone());
        None
    });
    (fake, heard)
}

async fn server(fake: &FakeApiServer, stock: Option<StockFile>) -> Running {
    let recorder = Recorder::new(fake.client(), skep_autoscaler::NAME, "test");
    let hub = Hub::new(fake.client(), bed::NAMESPACE, bed::CLUSTER);
    Running::new(Expander::new(hub, stock, recorder), false).await
}

#[tokio::test]
async fn options_are_chosen_and_the_choice_is_explained() {
    let (fake, mut heard) = with_events(bed::hub());
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("stock.yaml");
    std::fs::write(
        &path,
        "zones:\n  a: [{freeCpu: \"3\", freeMemory: 64Gi}]\n  b: [{freeCpu: \"8\", freeMemory: 64Gi}]\n",
    )
    .unwrap();
    let server = server(&fake, Some(StockFile::open(&path).await.unwrap())).await;
    let caller = server.connect(None).await.unwrap();
    let options = [("web", 2, "a"), ("batch", 2, "b")];
    let kept = ask(&caller, request(&options, &[pod()])).await.unwrap();
    assert_eq!(kept.len(), 1);
    let why = "2 more nodes for 1 pods: zone b has room for 4 machines of class small; anti-affinity can be kept; \
               zone b has 8 free cores, the most; 2 nodes cost 0.2000 an hour, the least";
    assert_eq!(kept[0], ("batch".to_owned(), why.to_owned()));

    let mut notes = Vec::new();
    while notes.len() < 2 {
        let event = tokio::time::timeout(PATIENCE, heard.recv()).await.unwrap().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        assert_eq!(event["regarding"]["kind"], "NodePool");
        notes.push((text(&event["regarding"]["name"]), text(&event["reason"]), text(&event["note"])));
    }
    let passed = "2 more nodes for 1 pods: zone a has room for 1 machines of class small, and 2 are needed";
    let expected = [("batch", "ExpansionPossible", why), ("web", "ExpansionPassedOver", passed)];
    assert_eq!(notes, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));

    // The file is read anew for each decision.
    std::fs::write(&path, "zones:\n  a: [{freeCpu: \"30\", freeMemory: 64Gi}]\n  b: []\n").unwrap();
    assert_eq!(ask(&caller, request(&options, &[pod()])).await.unwrap()[0].0, "web");
    // Without it the other rules go on: equal options are left to upstream.
    std::fs::write(&path, "nonsense").unwrap();
    assert_eq!(ask(&caller, request(&options, &[pod()])).await.unwrap().len(), 2);
}

#[tokio::test]
async fn nothing_is_expanded_when_it_would_help_no_pod() {
    let server = server(&bed::hub(), None).await;
    let caller = server.connect(None).await.unwrap();
    let none = ask(&caller, request(&[("web", 2, "a"), ("batch", 2, "b")], &[pod(), pod()])).await.unwrap();
    assert_eq!(none, []);
}

#[tokio::test]
async fn groups_of_others_are_left_to_upstream() {
    let server = server(&bed::hub(), None).await;
    let caller = server.connect(None).await.unwrap();
    let kept = ask(&caller, request(&[("MachineDeployment/x/y", 1, "a")], &[])).await.unwrap();
    assert_eq!(kept[0].1, "1 more nodes for 0 pods: nothing is known that speaks against it");
}

#[tokio::test]
async fn hostile_messages_are_refused_and_it_goes_on() {
    let server = server(&bed::hub(), None).await;
    let caller = server.connect(None).await.unwrap();
    let many = BestOptionsRequest { options: vec![Choice::default(); 10_000], ..Default::default() };
    let status = ask(&caller, many).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("SKEP-8095"), "{}", status.message());
    let bad = request(&[("web", 1, "a")], &[Bytes::from_static(b"\xff")]);
    assert_eq!(ask(&caller, bad).await.unwrap_err().code(), Code::InvalidArgument);
    let large = request(&[("web", 1, "a")], &vec![Bytes::from(vec![0; 1 << 20]); 65]);
    assert_eq!(ask(&caller, large).await.unwrap_err().code(), Code::OutOfRange, "more than 64 MiB");
    let caller = server.connect(None).await.unwrap();
    assert_eq!(ask(&caller, request(&[("web", 1, "a")], &[pod()])).await.unwrap().len(), 1);
}

#[tokio::test]
async fn two_callers_are_answered_at_once() {
    let server = server(&bed::hub(), None).await;
    let (one, two) = (server.connect(None).await.unwrap(), server.connect(None).await.unwrap());
    let options: Vec<(&str, i32, &str)> = vec![("web", 1, "a"); 200];
    let (first, second) =
        tokio::join!(ask(&one, request(&options, &[pod()])), ask(&two, request(&options, &[pod()])),);
    assert_eq!((first.unwrap().len(), second.unwrap().len()), (200, 200));
}
