//! A node for one test: a data directory, objects in memory, an image that stands for the host's programs, and the
//! promise that no process is left whatever the test does.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, ContainerState, ContainerStatus, Pod, Secret};
use serde_json::{Value, json};
use skep_vnode::backend::{
    ImageError, ImageRoot, ImageSource, LogOptions, PodBackend, PodContext, PodEvent, PodLifecycle,
    PodRuntimeStatus, PodSources, PodUid, ServiceAccountToken, SourceError, TokenRequest,
};
use skep_vnode::process::{Marker, ProcessBackend, ProcessConfig, Timings, marker};

/// Bound on everything that is certain to happen.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Images;

#[async_trait]
impl ImageSource for Images {
    async fn resolve(&self, image: &str) -> Result<ImageRoot, ImageError> {
        match image {
            "host" | "host2" => {
                Ok(ImageRoot { id: format!("id-of-{image}"), host_programs: true, ..ImageRoot::default() })
            }
            "empty" => Ok(ImageRoot { id: "id-of-empty".into(), ..ImageRoot::default() }),
            _ => Err(ImageError::Unknown { image: image.into(), known: vec!["empty".into(), "host".into()] }),
        }
    }
}

#[derive(Default)]
pub struct Objects {
    maps: Mutex<HashMap<String, BTreeMap<String, String>>>,
    secrets: Mutex<HashMap<String, BTreeMap<String, String>>>,
    pub claims: Mutex<HashMap<String, PathBuf>>,
}

fn owned(data: &[(&str, &str)]) -> BTreeMap<String, String> {
    data.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

impl Objects {
    pub fn map(&self, name: &str, data: &[(&str, &str)]) {
        self.maps.lock().unwrap().insert(name.into(), owned(data));
    }

    pub fn secret(&self, name: &str, data: &[(&str, &str)]) {
        self.secrets.lock().unwrap().insert(name.into(), owned(data));
    }
}

#[async_trait]
impl PodSources for Objects {
    async fn config_map(&self, _: &str, name: &str) -> Result<Option<Arc<ConfigMap>>, SourceError> {
        let data = self.maps.lock().unwrap().get(name).cloned();
        Ok(data.map(|data| Arc::new(ConfigMap { data: Some(data), ..ConfigMap::default() })))
    }

    async fn secret(&self, _: &str, name: &str) -> Result<Option<Arc<Secret>>, SourceError> {
        let data = self.secrets.lock().unwrap().get(name).cloned();
        let bytes = |d: BTreeMap<String, String>| {
            d.into_iter().map(|(k, v)| (k, ByteString(v.into_bytes()))).collect()
        };
        Ok(data.map(|data| Arc::new(Secret { data: Some(bytes(data)), ..Secret::default() })))
    }

    async fn claim(&self, _: &str, name: &str) -> Result<Option<PathBuf>, SourceError> {
        Ok(self.claims.lock().unwrap().get(name).cloned())
    }

    async fn token(&self, _: &Pod, _: &TokenRequest) -> Result<ServiceAccountToken, SourceError> {
        Err(SourceError::Refused("no tokens here".into()))
    }
}

/// Delays that make tests quick.
pub fn quick() -> Timings {
    Timings {
        backoff: Duration::from_millis(300),
        backoff_longest: Duration::from_secs(1),
        volume_retry: Duration::from_millis(20),
        least_grace: Duration::from_millis(300),
        size_check: Duration::from_millis(100),
        announce: Duration::from_millis(200),
        ..Timings::default()
    }
}

/// Name of an instance that no other test has.
pub fn instance_name() -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    format!("test-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A backend on a data directory.
pub fn backend(dir: &Path, instance: &str) -> Arc<ProcessBackend> {
    backend_with(dir, instance, quick(), Arc::new(Images))
}

pub fn backend_with(
    dir: &Path,
    instance: &str,
    timings: Timings,
    images: Arc<dyn ImageSource>,
) -> Arc<ProcessBackend> {
    let mut config = ProcessConfig::new(dir, instance, "n1", images);
    config.timings = timings;
    ProcessBackend::new(config).unwrap()
}

pub fn context(objects: Arc<Objects>) -> PodContext {
    PodContext {
        pod_ip: "127.0.0.1".parse().unwrap(),
        host_ip: "127.64.255.1".parse().unwrap(),
        allocatable: Arc::default(),
        env: Arc::new([]),
        sources: objects,
    }
}

/// A pod from its spec. Every test has its own uids because it has its own instance.
pub fn pod(name: &str, spec: Value) -> Pod {
    let metadata = json!({"name": name, "namespace": "ns", "uid": format!("uid-{name}"), "generation": 1});
    serde_json::from_value(json!({"metadata": metadata, "spec": spec})).unwrap()
}

/// A pod with one container `c` that runs a shell script.
pub fn script(name: &str, text: &str) -> Pod {
    pod(name, json!({"containers": [container("c", text)]}))
}

/// A container that runs a shell script. `$$` means the shell's own number, as in a script, not an escaped dollar.
pub fn container(name: &str, text: &str) -> Value {
    let text = text.replace("$$", "$$$$");
    json!({"name": name, "image": "host", "command": ["/bin/sh", "-c", text]})
}

pub struct Node {
    pub backend: Arc<ProcessBackend>,
    pub objects: Arc<Objects>,
    pub dir: tempfile::TempDir,
    pub instance: String,
    pub news: Mutex<Vec<PodEvent>>,
}

impl Node {
    pub fn new() -> Self {
        Self::with(quick(), Arc::new(Images))
    }

    pub fn with(timings: Timings, images: Arc<dyn ImageSource>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let instance = instance_name();
        let backend = backend_with(&dir.path().join("data"), &instance, timings, images);
        Self { backend, objects: Arc::default(), dir, instance, news: Mutex::default() }
    }

    /// A file outside the node's directory, for scripts to leave signs in.
    pub fn sign(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn sync(&self, pod: &Pod) -> PodUid {
        self.backend.sync_pod(Arc::new(pod.clone()), context(self.objects.clone())).unwrap();
        PodUid::of(pod).unwrap()
    }

    /// Waits until the status is as wanted.
    pub async fn until(
        &self,
        uid: &PodUid,
        what: &str,
        wanted: impl Fn(&PodRuntimeStatus) -> bool,
    ) -> Arc<PodRuntimeStatus> {
        let wait = async {
            loop {
                if let Some(status) = self.backend.status(uid).filter(|s| wanted(s)) {
                    return status;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(status) => status,
            Err(_) => panic!("never happened: {what}; {:#?}", self.backend.status(uid)),
        }
    }

    /// Starts a pod and waits until all its containers run and are ready.
    pub async fn up(&self, pod: &Pod) -> PodUid {
        let uid = self.sync(pod);
        self.until(&uid, "all are ready", |s| {
            !s.container_statuses.is_empty() && s.container_statuses.iter().all(|c| c.ready)
        })
        .await;
        uid
    }

    /// Stops, waits, removes.
    pub async fn remove(&self, uid: &PodUid, grace: Duration) -> Arc<PodRuntimeStatus> {
        self.backend.stop_pod(uid, grace).unwrap();
        let status = self.until(uid, "stopped", |s| s.lifecycle == PodLifecycle::Stopped).await;
        self.backend.remove_pod(uid).await.unwrap();
        status
    }

    pub async fn log(&self, uid: &PodUid, container: &str, options: LogOptions) -> String {
        let mut stream = self.backend.logs(uid, container, options).await.unwrap();
        let mut text = Vec::new();
        while let Some(chunk) = stream.next().await {
            text.extend(chunk.unwrap());
        }
        String::from_utf8(text).unwrap()
    }

    /// Waits for an event; keeps the others.
    pub async fn event(&self, reason: &str, part: &str) -> PodEvent {
        let fits = |e: &PodEvent| e.reason == reason && e.message.contains(part);
        let hub = self.backend.events();
        let wait = async {
            loop {
                if let Some(found) = self.news.lock().unwrap().iter().find(|e| fits(e)) {
                    return found.clone();
                }
                let batch = hub.next().await;
                self.news.lock().unwrap().extend(batch.events);
            }
        };
        match tokio::time::timeout(PATIENCE, wait).await {
            Ok(event) => event,
            Err(_) => panic!("no event {reason} {part:?} in {:#?}", self.news.lock().unwrap()),
        }
    }

    /// Nothing is left: no process, no file.
    pub async fn end(self) {
        for uid in self.backend.pods() {
            self.remove(&uid, Duration::from_secs(1)).await;
        }
        assert_eq!(marker::find(&Marker::new(&self.instance)).unwrap(), [], "processes are left");
        let left: Vec<_> = std::fs::read_dir(self.dir.path().join("data/pods")).unwrap().collect();
        assert!(left.is_empty(), "files are left: {left:?}");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        kill_all(&self.instance);
    }
}

/// For tests that fail half way.
pub fn kill_all(instance: &str) {
    for _ in 0..20 {
        let found = marker::find(&Marker::new(instance)).unwrap_or_default();
        if found.is_empty() {
            return;
        }
        for process in found {
            if let Some(pid) = rustix::process::Pid::from_raw(process.id.pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Waits for a file with something in it.
pub async fn file(path: &Path) -> String {
    let wait = async {
        loop {
            if let Ok(text) = std::fs::read_to_string(path)
                && !text.is_empty()
            {
                return text;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("{} never came", path.display()))
}

/// `running`, `waiting R: M` or `terminated R CODE: M` of a container.
pub fn state(status: &ContainerStatus) -> String {
    describe(status.state.as_ref())
}

pub fn last_state(status: &ContainerStatus) -> String {
    describe(status.last_state.as_ref())
}

fn describe(state: Option<&ContainerState>) -> String {
    let text = |t: &Option<String>| t.clone().unwrap_or_default();
    match state {
        Some(ContainerState { running: Some(_), .. }) => "running".into(),
        Some(ContainerState { waiting: Some(w), .. }) => {
            format!("waiting {}: {}", text(&w.reason), text(&w.message))
        }
        Some(ContainerState { terminated: Some(t), .. }) => {
            format!("terminated {} {}: {}", text(&t.reason), t.exit_code, text(&t.message))
        }
        _ => "none".into(),
    }
}

/// The container of a pod with one.
pub fn only(status: &PodRuntimeStatus) -> &ContainerStatus {
    status.container_statuses.first().expect("a container")
}

/// Whether the only container is in a state that starts like this.
pub fn is(prefix: &'static str) -> impl Fn(&PodRuntimeStatus) -> bool {
    move |status| status.container_statuses.first().is_some_and(|c| state(c).starts_with(prefix))
}
