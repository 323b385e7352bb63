//! The pods of one node as processes: [`ProcessBackend`].

mod recovery;
mod refuse;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::join_all;
use k8s_openapi::api::core::v1::Pod;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::cgroup::CgroupRoot;
use super::config::ProcessConfig;
use super::log::{self, Ended, LogPump};
use super::marker::Marker;
use super::pod::face::Face;
use super::pod::layout;
use super::pod::worker::Worker;
use super::pod::{Identity, Site};
use super::{exec, stats};
use crate::backend::{
    BackendError, EventHub, ExecRequest, ExecSession, HaltStage, LogOptions, LogStream, PodBackend,
    PodContext, PodLifecycle, PodRuntimeStatus, PodStats, PodUid, RecoveredPod, ResourceEnforcement,
};

/// How long a halt waits beyond the grace period for what hangs in the kernel.
const HALT_MARGIN: Duration = Duration::from_secs(30);

/// Runs pods as processes of this machine. See the [module](super).
pub struct ProcessBackend {
    site: Arc<Site>,
    pods: Mutex<HashMap<PodUid, Entry>>,
    /// Held as long as this run of the node may touch the data directory.
    lock: Mutex<Option<File>>,
}

struct Entry {
    face: Arc<Face>,
    _task: AbortOnDropHandle<()>,
}

impl ProcessBackend {
    /// Opens the data directory; refuses when another run of the node holds it. Needs a tokio runtime.
    pub fn new(config: ProcessConfig) -> Result<Arc<Self>, BackendError> {
        let directory = config.data_dir.clone();
        let io =
            |source| BackendError::io(format!("opening the data directory {}", directory.display()), source);
        layout::private(&layout::pods(&config.data_dir)).map_err(io)?;
        let lock = refuse::second_run(&config)?;
        let site = Site {
            marker: Marker::new(&config.instance).join(&config.node),
            pump: LogPump::start().map_err(|source| BackendError::io("watching logs", source))?,
            cgroups: CgroupRoot::find(&config.cgroups, &config.node),
            hub: Arc::new(EventHub::new()),
            config,
        };
        Ok(Arc::new(Self { site: Arc::new(site), pods: Mutex::default(), lock: Mutex::new(Some(lock)) }))
    }

    fn pods(&self) -> MutexGuard<'_, HashMap<PodUid, Entry>> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn faces(&self) -> Vec<Arc<Face>> {
        self.pods().values().map(|entry| entry.face.clone()).collect()
    }

    fn face(&self, uid: &PodUid) -> Result<Arc<Face>, BackendError> {
        let face = self.pods().get(uid).map(|entry| entry.face.clone());
        face.ok_or_else(|| BackendError::UnknownPod(uid.to_string()))
    }

    fn adopt(&self, uid: PodUid, worker: Worker) -> Arc<Face> {
        let face = worker.face();
        worker.publish();
        let task = AbortOnDropHandle::new(tokio::spawn(worker.run()));
        self.pods().insert(uid, Entry { face: face.clone(), _task: task });
        face
    }
}

#[async_trait]
impl PodBackend for ProcessBackend {
    fn name(&self) -> &'static str {
        "process"
    }

    fn enforcement(&self) -> ResourceEnforcement {
        match self.site.cgroups {
            Some(_) => ResourceEnforcement::Enforced,
            None => ResourceEnforcement::Accounted,
        }
    }

    async fn recover(&self) -> Result<Vec<RecoveredPod>, BackendError> {
        self.recover_all().await
    }

    fn sync_pod(&self, pod: Arc<Pod>, context: PodContext) -> Result<(), BackendError> {
        let uid = PodUid::of(&pod)?;
        if let Ok(face) = self.face(&uid) {
            face.sync(pod, context);
            return Ok(());
        }
        refuse::impossible(&pod)?;
        let identity = Identity::of(&pod, &self.site)?;
        let doing = || format!("making the directory of pod {}", identity.short_name());
        let new = identity.layout.create().map_err(|source| BackendError::io(doing(), source))?;
        let worker = Worker::new(self.site.clone(), identity, pod.clone(), context.pod_ip, None, new);
        worker.face().sync(pod, context);
        self.adopt(uid, worker);
        Ok(())
    }

    fn stop_pod(&self, uid: &PodUid, grace: Duration) -> Result<(), BackendError> {
        self.face(uid)?.stop(Instant::now() + grace);
        Ok(())
    }

    async fn remove_pod(&self, uid: &PodUid) -> Result<(), BackendError> {
        let Ok(face) = self.face(uid) else { return Ok(()) };
        if face.status().lifecycle != PodLifecycle::Stopped {
            return Err(BackendError::StillRunning(face.identity.short_name()));
        }
        recovery::delete(&face.identity).await?;
        // Known until then, so that a removal that failed can be tried again.
        self.pods().remove(uid);
        Ok(())
    }

    fn pods(&self) -> Vec<PodUid> {
        self.pods().keys().cloned().collect()
    }

    fn status(&self, uid: &PodUid) -> Option<Arc<PodRuntimeStatus>> {
        self.face(uid).ok().map(|face| face.status())
    }

    fn events(&self) -> Arc<EventHub> {
        self.site.hub.clone()
    }

    async fn logs(
        &self,
        uid: &PodUid,
        container: &str,
        options: LogOptions,
    ) -> Result<LogStream, BackendError> {
        let face = self.face(uid)?;
        let seen = refuse::unknown_container(&face, container)?;
        let pod = &face.identity.name;
        let (attempt, ended) = if options.previous {
            let missing = || {
                BackendError::NoLog(format!(
                    "previous terminated container {container:?} in pod {pod:?} not found"
                ))
            };
            (seen.previous.ok_or_else(missing)?, Ended::Yes)
        } else {
            let missing = || {
                let state = refuse::state_of(&face, container);
                BackendError::NoLog(format!(
                    "container {container:?} in pod {pod:?} is waiting to start: {state}"
                ))
            };
            let running = seen.cell.as_ref().and_then(|cell| cell.running());
            (seen.attempt.ok_or_else(missing)?, running.map_or(Ended::Yes, |r| Ended::No(r.capture)))
        };
        let path = face.identity.layout.logs(container, attempt).log;
        let doing =
            format!("reading the log of container {container:?} of pod {}", face.identity.short_name());
        log::read(path, ended, options).await.map_err(|source| BackendError::io(doing, source))
    }

    async fn exec(
        &self,
        uid: &PodUid,
        container: &str,
        request: ExecRequest,
    ) -> Result<ExecSession, BackendError> {
        let face = self.face(uid)?;
        let seen = refuse::unknown_container(&face, container)?;
        let Some(running) = seen.cell.as_ref().and_then(|cell| cell.running()) else {
            return Err(BackendError::NotRunning {
                pod: face.identity.short_name(),
                container: container.to_owned(),
                state: refuse::state_of(&face, container),
            });
        };
        exec::start(&running.beside, request).await
    }

    async fn stats(&self) -> Result<Vec<PodStats>, BackendError> {
        let mut containers = Vec::new();
        for face in self.faces() {
            let running = face.running();
            containers
                .extend(running.into_iter().map(|(name, running)| (face.identity.clone(), name, running)));
        }
        let taken_at = stats::now();
        let measured = tokio::task::spawn_blocking(move || stats::measure(containers)).await;
        let io = |source| BackendError::io("reading the process table", source);
        let mut pods: BTreeMap<PodUid, PodStats> = BTreeMap::new();
        for (identity, container) in measured.map_err(|e| io(e.into()))?.map_err(io)? {
            let pod = pods.entry(identity.uid.clone()).or_insert_with(|| PodStats {
                uid: identity.uid.clone(),
                namespace: identity.namespace.clone(),
                name: identity.name.clone(),
                taken_at,
                containers: Vec::new(),
            });
            pod.containers.push(container);
        }
        Ok(pods.into_values().collect())
    }

    async fn halt(&self, stage: &HaltStage) {
        let faces = self.faces();
        faces.iter().for_each(|face| face.hold());
        let due: Vec<_> = faces.into_iter().filter(|face| (stage.pods)(&face.pod())).collect();
        for face in &due {
            face.halt(Instant::now() + stage.grace);
        }
        let all = join_all(due.iter().map(|face| face.halted()));
        if tokio::time::timeout(stage.grace + HALT_MARGIN, all).await.is_err() {
            tracing::error!("some processes did not end: they hang in the kernel");
        }
    }

    async fn release(&self) {
        let captures =
            self.faces().into_iter().flat_map(|face| face.running()).map(|(_, running)| running.capture);
        for capture in captures {
            if let Err(error) = capture.flush().await {
                tracing::warn!(%error, "a log could not be stored before letting go; the next run does it");
            }
        }
        let pods = std::mem::take(&mut *self.pods());
        let identities: Vec<_> = pods.values().map(|entry| entry.face.identity.clone()).collect();
        drop(pods);
        // The next run of the node must not meet what this one has begun.
        join_all(identities.iter().map(|identity| identity.work.end())).await;
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
