//! One pod: what it is made of, who looks after it, and what is told about it.
//!
//! Each pod has one [`worker`] task that owns its state; each run of a container has one [`attempt`] task. The worker
//! decides (with the pure [`plan`]), attempts act. They talk through cells and orders, never through shared state that
//! both write. A pod whose containers just run costs two sleeping tasks and no timer but those of its probes.

pub(super) mod attempt;
mod backoff;
pub(super) mod cell;
pub(super) mod face;
pub(super) mod layout;
mod mounts;
mod plan;
pub(super) mod record;
mod report;
mod slot;
mod status;
pub(super) mod worker;

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod};

use super::cgroup::CgroupRoot;
use super::config::ProcessConfig;
use super::log::LogPump;
use super::marker::Marker;
use super::work::DirectoryWork;
use crate::backend::restart::is_sidecar;
use crate::backend::{BackendError, EventHub, PodUid};
use layout::Layout;

/// What all pods of a backend share.
pub(super) struct Site {
    pub config: ProcessConfig,
    pub marker: Marker,
    pub pump: LogPump,
    pub cgroups: Option<CgroupRoot>,
    pub hub: Arc<EventHub>,
}

/// Who a pod is, and what is being done in its directory. Never changes.
#[derive(Debug)]
pub(super) struct Identity {
    pub uid: PodUid,
    pub namespace: String,
    pub name: String,
    pub marker: Marker,
    pub layout: Layout,
    pub work: DirectoryWork,
}

impl Identity {
    pub(super) fn of(pod: &Pod, site: &Site) -> Result<Self, BackendError> {
        let uid = PodUid::of(pod)?;
        let marker = site.marker.join(uid.as_str());
        let layout = Layout::new(&site.config.data_dir, &uid);
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Ok(Self {
            namespace: text(&pod.metadata.namespace),
            name: text(&pod.metadata.name),
            uid,
            marker,
            layout,
            work: DirectoryWork::default(),
        })
    }

    /// As the kubelet writes it in messages: `name_namespace(uid)`.
    pub(super) fn long_name(&self) -> String {
        format!("{}_{}({})", self.name, self.namespace, self.uid)
    }

    /// `namespace/name`.
    pub(super) fn short_name(&self) -> String {
        format!("{}/{}", self.namespace, self.name)
    }
}

/// The role of a container in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Runs to its end before the next.
    Init,
    /// Is started among the init containers and stays.
    Sidecar,
    /// What the pod is for.
    Main,
}

/// Which container of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub kind: Kind,
    /// In `initContainers` or `containers`.
    pub index: usize,
}

impl Place {
    /// All containers of a pod, init containers first.
    pub(super) fn all(pod: &Pod) -> Vec<Self> {
        let Some(spec) = &pod.spec else { return Vec::new() };
        let init = spec.init_containers.iter().flatten().enumerate().map(|(index, container)| {
            let kind = if is_sidecar(container) { Kind::Sidecar } else { Kind::Init };
            Self { kind, index }
        });
        init.chain((0..spec.containers.len()).map(|index| Self { kind: Kind::Main, index })).collect()
    }

    /// The container.
    pub(super) fn of(self, pod: &Pod) -> Option<&Container> {
        let spec = pod.spec.as_ref()?;
        match self.kind {
            Kind::Main => spec.containers.get(self.index),
            Kind::Init | Kind::Sidecar => spec.init_containers.as_ref()?.get(self.index),
        }
    }

    /// What events about it refer to.
    pub(super) fn field_path(self, name: &str) -> String {
        match self.kind {
            Kind::Main => format!("spec.containers{{{name}}}"),
            Kind::Init | Kind::Sidecar => format!("spec.initContainers{{{name}}}"),
        }
    }
}
