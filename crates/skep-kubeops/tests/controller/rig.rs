//! A controller over ConfigMaps whose reconciles are held in the test's hands.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use k8s_openapi::{NamespaceResourceScope, api::core::v1::ConfigMap};
use kube::{Api, Client, Resource, api::DeleteParams};
use serde::Serialize;
use serde_json::{Value, json};
use skep_kubeops::{
    Applier, Classify, Controller, ErrorClass, Key, Metrics, Next, Object, Reconciler, watch::Select,
};
use skep_testkit::{Backend, FakeApiServer, FaultLayer};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// How a held reconcile ends.
pub enum Answer {
    Done,
    After(Duration),
    Fails(ErrorClass),
    Panics,
}

#[derive(Debug)]
pub struct Failure(ErrorClass);

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("as the test wanted")
    }
}

impl Classify for Failure {
    fn class(&self) -> ErrorClass {
        self.0
    }

    fn reason(&self) -> &'static str {
        "AsWanted"
    }
}

#[derive(Default)]
struct Held {
    behind: HashSet<String>,
    waiting: HashMap<String, oneshot::Sender<Answer>>,
    finished: Vec<String>,
}

pub struct Holding {
    held: Arc<Mutex<Held>>,
    events: mpsc::UnboundedSender<(&'static str, String)>,
}

impl Reconciler for Holding {
    type Object = ConfigMap;
    type Error = Failure;

    fn name() -> &'static str {
        "rig"
    }

    async fn reconcile(&self, object: Arc<ConfigMap>) -> Result<Next, Failure> {
        let name = object.metadata.name.clone().unwrap();
        let (end, ended) = oneshot::channel();
        let before = self.held.lock().unwrap().waiting.insert(name.clone(), end);
        assert!(before.is_none_or(|before| before.is_closed()), "{name} runs twice");
        self.events.send(("started", name.clone())).unwrap();
        let answer = ended.await.unwrap();
        self.held.lock().unwrap().finished.push(name);
        match answer {
            Answer::Done => Ok(Next::Done),
            Answer::After(pause) => Ok(Next::After(pause)),
            Answer::Fails(class) => Err(Failure(class)),
            Answer::Panics => panic!("as the test wanted"),
        }
    }

    fn is_behind(&self, object: &ConfigMap) -> bool {
        self.held.lock().unwrap().behind.contains(object.metadata.name.as_deref().unwrap())
    }

    fn deleted(&self, object: &Key) {
        self.events.send(("deleted", object.to_string())).unwrap();
    }
}

/// A running controller and its server.
pub struct Rig {
    pub fake: FakeApiServer,
    pub client: Client,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    held: Arc<Mutex<Held>>,
    events: mpsc::UnboundedReceiver<(&'static str, String)>,
    /// Taken out of the channel while waiting for something else.
    early: Vec<(&'static str, String)>,
    running: Option<JoinHandle<()>>,
}

impl Rig {
    pub async fn start(build: impl FnOnce(Controller<Holding>) -> Controller<Holding>) -> Self {
        Self::on(FakeApiServer::new(), build).await
    }

    /// Without Skep's own kinds.
    pub async fn start_bare(build: impl FnOnce(Controller<Holding>) -> Controller<Holding>) -> Self {
        Self::on(FakeApiServer::bare(), build).await
    }

    async fn on(fake: FakeApiServer, build: impl FnOnce(Controller<Holding>) -> Controller<Holding>) -> Self {
        let client = fake.client();
        let held = Arc::<Mutex<Held>>::default();
        let (sender, events) = mpsc::unbounded_channel();
        let metrics = Metrics::new();
        let shutdown = CancellationToken::new();
        let holding = Holding { held: Arc::clone(&held), events: sender };
        // Long enough not to come in between; tests about it set their own.
        let controller = Controller::new(holding, client.clone())
            .select(Select::all().namespace("default"))
            .metrics(&metrics)
            .deadline(Duration::from_secs(100_000))
            .resync(Duration::from_secs(100_000));
        let running = tokio::spawn(build(controller).run(shutdown.clone()));
        Self { fake, client, metrics, shutdown, held, events, early: Vec::new(), running: Some(running) }
    }

    pub async fn apply<K: Object + Serialize>(&self, object: &K) -> K {
        Applier::new(self.client.clone(), "people").apply(object).await.unwrap()
    }

    pub async fn delete<K>(&self, name: &str)
    where
        K: Object + Resource<Scope = NamespaceResourceScope>,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), "default");
        api.delete(name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn counting_client(&self) -> (FaultLayer, Client) {
        let layer = FaultLayer::counting();
        let client = Backend::Fake(self.fake.clone()).client(Some(&layer)).await.unwrap();
        (layer, client)
    }

    /// Waits for the next start and says whose.
    pub async fn started(&mut self) -> String {
        self.event("started").await
    }

    pub async fn deleted(&mut self) -> String {
        self.event("deleted").await
    }

    async fn event(&mut self, wanted: &str) -> String {
        if let Some(index) = self.early.iter().position(|(what, _)| *what == wanted) {
            return self.early.remove(index).1;
        }
        loop {
            let event =
                timeout(Duration::from_secs(200_000), self.events.recv()).await.expect(wanted).unwrap();
            if event.0 == wanted {
                return event.1;
            }
            self.early.push(event);
        }
    }

    /// How long from `since` until something starts; the start stays to be taken.
    pub async fn wait_for_start(&mut self, since: &Instant) -> Duration {
        let name = self.event("started").await;
        self.early.insert(0, ("started", name));
        since.elapsed()
    }

    /// Nothing starts within this time.
    pub async fn quiet(&mut self, time: Duration) {
        assert!(self.early.iter().all(|(what, _)| *what != "started"), "{:?}", self.early);
        let deadline = Instant::now() + time;
        while let Ok(event) = tokio::time::timeout_at(deadline, self.events.recv()).await {
            let event = event.unwrap();
            assert_ne!(event.0, "started", "{} started", event.1);
            self.early.push(event);
        }
    }

    pub fn finish(&self, name: &str, answer: Answer) {
        let end = self.held.lock().unwrap().waiting.remove(name).expect("it runs");
        assert!(end.send(answer).is_ok(), "{name} was dropped");
    }

    /// Whether the watch is behind what was written of this object.
    pub fn behind(&self, name: &str, behind: bool) {
        let mut held = self.held.lock().unwrap();
        if behind {
            held.behind.insert(name.to_owned())
        } else {
            held.behind.remove(name)
        };
    }

    pub fn finished(&self) -> Vec<String> {
        self.held.lock().unwrap().finished.clone()
    }

    pub async fn stopped(&mut self) {
        self.running.take().unwrap().await.unwrap();
    }
}

pub fn config(name: &str, data: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "namespace": "default"}, "data": {"k": data}}))
        .unwrap()
}

pub fn child<K: serde::de::DeserializeOwned>(owner: &ConfigMap, name: &str) -> K {
    child_with(owner, name, json!({}))
}

pub fn child_with<K: serde::de::DeserializeOwned>(owner: &ConfigMap, name: &str, data: Value) -> K {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "default", "labels": {"by": "rig"},
            "ownerReferences": [owner.controller_owner_ref(&()).unwrap()],
        },
        "data": data,
    }))
    .unwrap()
}
