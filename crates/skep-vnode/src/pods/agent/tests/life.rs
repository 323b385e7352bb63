//! One node with one pod: a fake API server, the real backend, real processes.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context;
use async_trait::async_trait;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use skep_plan::address::LoopbackNet;
use skep_testkit::{Backend, FakeApiServer, World};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::backend::{ImageError, ImageRoot, ImageSource, PodBackend};
use crate::events::Recorder;
use crate::pods::address::Addresses;
use crate::pods::admission::Offer;
use crate::pods::agent::{Agent, AgentConfig, Inputs};
use crate::pods::objects;
use crate::pods::references::ReferenceIndex;
use crate::pods::requests::Amounts;
use crate::pods::sources::ApiSources;
use crate::pods::watch::{self, PodWatch};
use crate::process::{Marker, ProcessBackend, ProcessConfig, Timings, marker};

pub const NODE: &str = "n1";
const NAMESPACE: &str = "default";
/// Bound on everything that is certain to happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The programs of this machine as an image.
pub struct HostImage;

#[async_trait]
impl ImageSource for HostImage {
    async fn resolve(&self, _: &str) -> Result<ImageRoot, ImageError> {
        Ok(ImageRoot { id: "host".into(), host_programs: true, ..ImageRoot::default() })
    }
}

/// What outlives a run of the node: the API server, the directory, the processes.
pub struct Installation {
    pub fake: FakeApiServer,
    backend: Backend,
    dir: tempfile::TempDir,
    instance: String,
    before: Option<Arc<ProcessBackend>>,
}

impl Installation {
    pub fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let fake = FakeApiServer::bare();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self {
            backend: Backend::Fake(fake.clone()),
            fake,
            dir: tempfile::tempdir().unwrap(),
            instance: format!("agent-{}-{number}", std::process::id()),
            before: None,
        }
    }

    /// What runs pods, on what the run before left. That one has ended, whatever it had begun.
    pub async fn processes(&mut self, images: Arc<dyn ImageSource>) -> anyhow::Result<Arc<ProcessBackend>> {
        if let Some(before) = self.before.take() {
            before.release().await;
        }
        let mut config = ProcessConfig::new(self.dir.path(), &self.instance, NODE, images);
        config.timings = Timings {
            volume_retry: Duration::from_millis(20),
            retry: Duration::from_millis(100),
            ..Timings::default()
        };
        let backend = ProcessBackend::new(config)?;
        self.before = Some(backend.clone());
        Ok(backend)
    }

    pub fn pod(&self) -> Option<Value> {
        self.fake.objects("pods").into_iter().next()
    }

    pub fn marker(&self) -> Marker {
        Marker::new(&self.instance)
    }
}

impl Drop for Installation {
    /// For tests that fail half way.
    fn drop(&mut self) {
        for found in marker::find(&self.marker()).unwrap_or_default() {
            if let Some(pid) = rustix::process::Pid::from_raw(found.id.pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// One run of the node. Dropped, it has crashed.
pub struct Run {
    _work: JoinSet<()>,
    pub told: CancellationToken,
}

impl Run {
    pub async fn start(client: Client, backend: Arc<dyn PodBackend>) -> anyhow::Result<Self> {
        let list = BTreeMap::from(
            [("cpu", "2"), ("memory", "1Gi"), ("pods", "10")]
                .map(|(k, v)| (k.to_owned(), Quantity(v.to_owned()))),
        );
        let (recorder, events) = Recorder::new(client.clone());
        let references = Arc::new(ReferenceIndex::default());
        let net = LoopbackNet::new(64)?;
        let config = AgentConfig {
            name: Arc::from(NODE),
            index: 0,
            address: net.node(0)?,
            client: client.clone(),
            backend,
            offer: Arc::new(Offer {
                name: NODE.to_owned(),
                labels: BTreeMap::new(),
                allocatable: Amounts::from_list(Some(&list)),
            }),
            allocatable: Arc::new(list),
            env: Arc::new([]),
            addresses: Arc::new(Mutex::new(Addresses::new(net))),
            sources: ApiSources::new(client.clone(), references.clone()),
            references: references.clone(),
            recorder,
            table: Arc::default(),
            permits: Arc::new(Semaphore::new(8)),
        };
        let mut agent = Agent::new(config, CancellationToken::new());
        agent.recover().await?;
        let told = agent.told();
        let (changes_in, changes) = mpsc::channel(watch::QUEUE);
        let (objects_in, objects) = mpsc::channel(objects::QUEUE);
        let (changed_in, mut changed) = mpsc::channel(objects::QUEUE);
        let mut work = JoinSet::new();
        work.spawn(events);
        let senders = HashMap::from([(NODE.to_owned(), changes_in)]);
        work.spawn(watch::run(client.clone(), senders, PodWatch::PerNode));
        work.spawn(objects::run(client, references, changed_in));
        work.spawn(async move {
            while let Some((_, uid)) = changed.recv().await {
                if objects_in.send(uid).await.is_err() {
                    return;
                }
            }
        });
        work.spawn(agent.run(Inputs { changes, objects }, CancellationToken::new()));
        Ok(Self { _work: work, told })
    }
}

/// Waits for something that is certain to happen.
pub async fn until(what: &str, mut happened: impl FnMut() -> bool) -> anyhow::Result<()> {
    let wait = async {
        while !happened() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.with_context(|| format!("never happened: {what}"))
}

/// Status of a condition of a pod.
pub fn condition(pod: &Value, wanted: &str) -> String {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let found = conditions.into_iter().find(|condition| condition["type"] == wanted);
    found.and_then(|condition| condition["status"].as_str()).unwrap_or_default().to_owned()
}

pub fn manifest() -> Value {
    let mounts = ["m", "s", "e"].map(|name| json!({"name": name, "mountPath": format!("/{name}")}));
    json!({
        "metadata": {"name": "p", "namespace": NAMESPACE},
        "spec": {
            "nodeName": NODE,
            "terminationGracePeriodSeconds": 1,
            "volumes": [
                {"name": "m", "configMap": {"name": "m"}},
                {"name": "s", "secret": {"secretName": "s"}},
                {"name": "e", "emptyDir": {}},
            ],
            "containers": [{
                "name": "c", "image": "host",
                "command": ["/bin/sh", "-c", "cat /m/a /s/b > /e/c && exec sleep 1000"],
                "env": [{"name": "B", "valueFrom": {"secretKeyRef": {"name": "s", "key": "b"}}}],
                "volumeMounts": mounts,
            }],
        },
    })
}

impl World for Installation {
    fn backend(&self) -> &Backend {
        &self.backend
    }

    async fn set_up(&mut self, client: &Client) -> anyhow::Result<()> {
        let at = PostParams::default();
        let map = json!({"metadata": {"name": "m"}, "data": {"a": "1"}});
        let secret = json!({"metadata": {"name": "s"}, "data": {"b": "Mg=="}});
        Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE)
            .create(&at, &serde_json::from_value(map)?)
            .await?;
        Api::<Secret>::namespaced(client.clone(), NAMESPACE)
            .create(&at, &serde_json::from_value(secret)?)
            .await?;
        Api::<Pod>::namespaced(client.clone(), NAMESPACE)
            .create(&at, &serde_json::from_value(manifest())?)
            .await?;
        Ok(())
    }

    /// Until the pod is ready; when it is being deleted, until nothing of it is left.
    async fn converge(&mut self, client: Client) -> anyhow::Result<()> {
        let backend = self.processes(Arc::new(HostImage)).await?;
        let _run = Run::start(client, backend.clone()).await?;
        let done = || match self.pod() {
            None => backend.pods().is_empty(),
            Some(pod) => pod["metadata"]["deletionTimestamp"].is_null() && condition(&pod, "Ready") == "True",
        };
        until("the end of this run", done).await.with_context(|| format!("{:#?}", self.pod()))
    }

    async fn delete(&mut self, client: &Client) -> anyhow::Result<()> {
        let how = DeleteParams::default();
        Api::<Pod>::namespaced(client.clone(), NAMESPACE).delete("p", &how).await?;
        Api::<Secret>::namespaced(client.clone(), NAMESPACE).delete("s", &how).await?;
        Api::<ConfigMap>::namespaced(client.clone(), NAMESPACE).delete("m", &how).await?;
        Ok(())
    }

    /// When it was started, and how often: a crash between the record of a container and its process is a restart.
    fn normalise(&self, object: &mut Value) {
        object["status"]["startTime"].take();
        for container in object["status"]["containerStatuses"].as_array_mut().into_iter().flatten() {
            container["state"]["running"]["startedAt"].take();
            for field in ["containerID", "restartCount", "lastState"] {
                container[field].take();
            }
        }
    }

    async fn leftovers(&mut self) -> Vec<String> {
        let processes = marker::find(&self.marker()).unwrap().into_iter().map(|found| found.marker);
        let directories = std::fs::read_dir(self.dir.path().join("pods")).unwrap();
        processes.chain(directories.map(|entry| entry.unwrap().path().display().to_string())).collect()
    }
}
