//! Virtual nodes with the `process` backend, in one process and around one client.

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;
use kube::Client;
use skep_engine::{Engine, ImageRef, Update};
use skep_plan::address::LoopbackNet;
use skep_vnode::{
    backend::{ImageError, ImageRoot, ImageSource},
    config::{HostConfig, NodeConfig},
    host::Host,
    pods::watch::PodWatch,
    process::{ProcessBackend, ProcessConfig},
    server::{Access, KubeletTls},
};
use tokio_util::sync::CancellationToken;

use crate::halt;

/// User agent.
pub const NAME: &str = "skep-vnode";

/// One node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeName {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: String,
    /// Its place in the network of the pods, from 0 to 7.
    pub index: u8,
    /// Where its pods' files are.
    pub dir: PathBuf,
}

/// What the nodes of a process are told.
#[derive(Clone)]
pub struct Settings {
    /// The nodes.
    pub nodes: Vec<NodeName>,
    /// Name of the installation: every process of a pod carries it.
    pub instance: String,
    /// Network of the pods.
    pub net: LoopbackNet,
    /// Directory whose file system is the nodes' disk.
    pub data_dir: PathBuf,
    /// Directory of volumes.
    pub volumes: PathBuf,
    /// Certificates of the kubelet endpoints.
    pub tls: Arc<KubeletTls>,
    /// Common name of the API server's client certificate.
    pub api_server: String,
    /// Whether there are no other nodes: one watch then serves all.
    pub alone: bool,
    /// Where programs come from.
    pub engine: Engine,
    /// Whether the pods are halted at the shutdown; otherwise they go on.
    pub halt: bool,
    /// Cancelled when the API server has heard how every pod it had at the start stands now.
    pub reported: CancellationToken,
}

/// Runs the nodes until `shutdown`.
///
/// # Errors
/// When a node cannot begin, for example because its address is taken.
pub async fn run(client: Client, settings: Settings, shutdown: CancellationToken) -> Result<(), String> {
    let images: Arc<dyn ImageSource> = Arc::new(EngineImages(settings.engine));
    let mut nodes = Vec::new();
    for node in &settings.nodes {
        let config = ProcessConfig::new(&node.dir, &settings.instance, &node.name, Arc::clone(&images));
        let backend = ProcessBackend::new(config).map_err(|error| error.to_string())?;
        nodes.push(NodeConfig::new(&node.name, &node.zone, node.index, backend));
    }
    let host = HostConfig {
        access: Access::new([settings.api_server], [] as [String; 0]),
        pod_watch: if settings.alone { PodWatch::Shared } else { PodWatch::PerNode },
        volumes: Some(settings.volumes),
        halt: if settings.halt { halt::stages() } else { Vec::new() },
        reported: settings.reported,
        ..HostConfig::new(client, settings.net, settings.tls, settings.data_dir)
    };
    Host::new(host, nodes).run(shutdown).await.map_err(|error| error.to_string())
}

/// The engine as a source of images.
struct EngineImages(Engine);

#[async_trait]
impl ImageSource for EngineImages {
    async fn resolve(&self, image: &str) -> Result<ImageRoot, ImageError> {
        let name: ImageRef = image.parse().map_err(|error: skep_engine::Error| ImageError::Invalid {
            image: image.to_owned(),
            reason: error.to_string(),
        })?;
        let progress = |update: &Update<'_>| tracing::debug!(image = %update.image, "{}", update.phase);
        match self.0.ensure(&name, &progress).await {
            Ok(artifact) => Ok(ImageRoot {
                id: identity(&artifact),
                bin_dirs: vec![artifact.bin_dir],
                ..ImageRoot::default()
            }),
            Err(skep_engine::Error::UnknownImage { known, .. }) => {
                Err(ImageError::Unknown { image: image.to_owned(), known })
            }
            Err(error) => Err(ImageError::Unavailable {
                image: image.to_owned(),
                reason: format!("{}: {error}", error.code()),
            }),
        }
    }
}

/// `skep.dev/kube@sha256:…` by the digest of its first file; the plain name for programs that the user named.
fn identity(artifact: &skep_engine::Artifact) -> String {
    match artifact.digests.values().next() {
        Some(digest) => format!("{}@sha256:{digest}", artifact.image.repository()),
        None => artifact.image.to_string(),
    }
}
