//! What runs pods on a virtual node, seen from the node half: the [`PodBackend`] trait and its types.
//!
//! Division of work. The node half owns everything that talks to the API server: it watches pods, posts statuses and
//! events, fetches secrets and configMaps, asks for tokens, decides addresses. A backend owns what happens on the
//! machine: volumes, processes, probes, restarts, logs. They meet here and nowhere else.
//!
//! Rules both sides keep:
//! * No call waits for a pod. [`PodBackend::sync_pod`] and [`PodBackend::stop_pod`] return at once, what follows is
//!   told through [`EventHub`], and [`PodBackend::status`] is a cheap snapshot.
//! * A backend may be called with the same pod as often as one likes; only a difference has an effect.
//! * A backend never forgets a process: [`PodBackend::recover`] finds what an earlier run of the same node started.
//! * Nothing of a pod is deleted before [`PodBackend::remove_pod`], and that refuses while a process still runs.

mod compact;
pub mod error;
pub mod events;
pub mod exec;
pub mod image;
pub mod logs;
pub mod references;
pub mod restart;
pub mod sources;
pub mod stats;
pub mod status;
pub mod uid;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub(crate) use compact::{compact, compact_status};
pub use error::BackendError;
pub use events::{Batch, EventHub, EventKind, PodEvent};
pub use exec::{ExecControl, ExecRequest, ExecSession, TerminalSize};
pub use image::{ImageError, ImageRoot, ImageSource};
pub use logs::{LogFilter, LogOptions, LogStream};
pub use references::{Reference, references};
pub use sources::{PodSources, ServiceAccountToken, SourceError, TokenRequest};
pub use stats::{ContainerStats, PodStats};
pub use status::{Eviction, PodLifecycle, PodRuntimeStatus, ResizeState, ResourceEnforcement};
pub use uid::PodUid;

/// What the node half decides about a pod and a backend cannot know from the pod alone.
#[derive(Clone)]
pub struct PodContext {
    /// The pod's own address. Known before the pod starts and never changed afterwards.
    pub pod_ip: IpAddr,
    /// The node's address, for `status.hostIP`.
    pub host_ip: IpAddr,
    /// What the node offers in all; `resourceFieldRef` falls back to it when a container has no limit.
    pub allocatable: Arc<BTreeMap<String, Quantity>>,
    /// Environment every container gets first (service links), before its own; may be empty.
    pub env: Arc<[(String, String)]>,
    /// Where secrets, configMaps, claims and tokens come from.
    pub sources: Arc<dyn PodSources>,
}

/// A pod that an earlier run of this node left behind: its records were found, its processes are supervised again.
#[derive(Clone, Debug)]
pub struct RecoveredPod {
    /// Its uid.
    pub uid: PodUid,
    /// The pod as it was last given to [`PodBackend::sync_pod`]; metadata may be older than the API server's.
    pub pod: Arc<Pod>,
    /// The address it was started with: the node half must not give it to another pod.
    pub pod_ip: IpAddr,
    /// How many of its containers run.
    pub running: usize,
}

/// One step of a halt: the pods it stops, all together, and how long each of them has.
#[derive(Clone, Copy, Debug)]
pub struct HaltStage {
    /// Whether a pod is stopped in this stage; one that an earlier stage stopped is not looked at again.
    pub pods: fn(&Pod) -> bool,
    /// How long before what is left of it is killed.
    pub grace: Duration,
}

/// Runs pods. One instance per node. See the module header for the rules.
#[async_trait]
pub trait PodBackend: Send + Sync + 'static {
    /// Short name, shown as container runtime: `process`, `hollow`, `host`.
    fn name(&self) -> &'static str;

    /// Whether limits are enforced or only accounted for. Fixed after start.
    fn enforcement(&self) -> ResourceEnforcement;

    /// Finds and adopts what an earlier run left. To be called once, before the first `sync_pod`.
    ///
    /// Recovered pods are supervised and logged but nothing in them is (re)started until their first `sync_pod`. For
    /// those that no longer exist in the API call `stop_pod` and, when stopped, `remove_pod`.
    async fn recover(&self) -> Result<Vec<RecoveredPod>, BackendError>;

    /// Makes the backend run this pod as it is now: starts it, or takes over changed labels, annotations, images and
    /// resources. Returns at once.
    ///
    /// Call it again when an object the pod refers to has changed (see [`references`]): mounted files are refreshed
    /// and whatever waits for a missing object is tried at once instead of at the end of its back-off.
    fn sync_pod(&self, pod: Arc<Pod>, context: PodContext) -> Result<(), BackendError>;

    /// Stops the pod: preStop hooks, SIGTERM, at most `grace`, then SIGKILL; sidecars after the others. Returns at
    /// once; done when the status says [`PodLifecycle::Stopped`]. A later call may only shorten the grace period.
    /// A pod never starts again once it was stopped.
    fn stop_pod(&self, uid: &PodUid, grace: Duration) -> Result<(), BackendError>;

    /// Deletes the volumes, logs and records of a stopped pod. Unknown pods are fine.
    async fn remove_pod(&self, uid: &PodUid) -> Result<(), BackendError>;

    /// The pods this backend knows.
    fn pods(&self) -> Vec<PodUid>;

    /// Snapshot of one pod, `None` when unknown.
    fn status(&self, uid: &PodUid) -> Option<Arc<PodRuntimeStatus>>;

    /// Where changes and events are announced. One consumer.
    fn events(&self) -> Arc<EventHub>;

    /// Log of a container.
    async fn logs(
        &self,
        uid: &PodUid,
        container: &str,
        options: LogOptions,
    ) -> Result<LogStream, BackendError>;

    /// Runs a command in a running container. Dropping the session kills the command.
    async fn exec(
        &self,
        uid: &PodUid,
        container: &str,
        request: ExecRequest,
    ) -> Result<ExecSession, BackendError>;

    /// CPU time and memory of every running container. Costs one pass over the process table; ask every few seconds
    /// at most.
    async fn stats(&self) -> Result<Vec<PodStats>, BackendError>;

    /// Stops the pods of this stage but ends none of them: the next run of the node [recovers](Self::recover) them and
    /// starts their containers again, as after a restart of the machine, without counting it as a crash. From the first
    /// stage on nothing is (re)started in any pod and nothing is reported. Returns when no container of the stage runs,
    /// at the latest a little after the grace period.
    async fn halt(&self, stage: &HaltStage);

    /// Lets go of everything without stopping any process, so that a later run can [`PodBackend::recover`] it.
    /// Waits until what the containers have logged so far is written.
    async fn release(&self);
}
