//! Programs of nodes: where they come from, and waiting for them without holding anybody up.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use skep_api::KubeVersion;
use skep_engine::{Engine, ImageRef, Progress, Silent};
use tokio::{sync::watch, time::timeout};

use crate::{Error, Result};

/// How long a call waits for programs that are being made before it says so: a copy in the cache is there at once.
const PATIENCE: Duration = Duration::from_secs(2);

/// Directories with the programs of a node.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Directories {
    /// kubelet and kube-proxy.
    pub kubernetes: PathBuf,
    /// containerd, containerd-shim-runc-v2 and ctr.
    pub containerd: PathBuf,
    /// The CNI plugins bridge, host-local, loopback and portmap.
    pub cni: PathBuf,
}

/// Gives the programs of nodes.
#[async_trait]
pub trait Programs: Send + Sync {
    /// The directories for nodes of a version. May take minutes: it is called once at a time for a version, and not again
    /// after it has succeeded.
    ///
    /// # Errors
    /// What a person should read.
    async fn directories(&self, version: &KubeVersion) -> Result<Directories, String>;
}

/// The programs of the engine: given, released or built.
pub struct EnginePrograms {
    engine: Engine,
    progress: Arc<dyn Progress>,
}

impl EnginePrograms {
    /// Programs of this engine, made without a word.
    pub fn new(engine: Engine) -> Self {
        Self::reporting(engine, Arc::new(Silent))
    }

    /// Programs of this engine; somebody hears how it goes.
    pub fn reporting(engine: Engine, progress: Arc<dyn Progress>) -> Self {
        Self { engine, progress }
    }

    async fn ensure(&self, image: &ImageRef) -> Result<PathBuf, String> {
        let made = self.engine.ensure(image, &*self.progress).await;
        made.map(|artifact| artifact.bin_dir).map_err(|error| error.to_string())
    }
}

#[async_trait]
impl Programs for EnginePrograms {
    async fn directories(&self, version: &KubeVersion) -> Result<Directories, String> {
        let node = skep_engine::node_image(&version.to_string()).map_err(|error| error.to_string())?;
        Ok(Directories {
            kubernetes: self.ensure(&node).await?,
            containerd: self.ensure(&skep_engine::containerd_image()).await?,
            cni: self.ensure(&skep_engine::cni_image()).await?,
        })
    }
}

type Outcome = Option<Result<Directories, String>>;

/// What has been asked for. Bounded by the number of versions that the engine knows, as others fail and are forgotten.
pub(super) struct Shelf {
    programs: Arc<dyn Programs>,
    versions: Mutex<HashMap<KubeVersion, watch::Receiver<Outcome>>>,
}

impl Shelf {
    pub(super) fn new(programs: Arc<dyn Programs>) -> Self {
        Self { programs, versions: Mutex::default() }
    }

    /// The directories of a version; `None` while they are being made, which goes on when nobody waits.
    pub(super) async fn get(&self, version: &KubeVersion) -> Result<Option<Directories>> {
        let mut outcome = self.order(version);
        let known = match timeout(PATIENCE, outcome.wait_for(Option::is_some)).await {
            Err(_) => return Ok(None),
            Ok(known) => known.map(|known| known.clone()),
        };
        match known {
            Ok(Some(Ok(directories))) => Ok(Some(directories)),
            Ok(Some(Err(reason))) => Err(self.forget(version, &outcome, reason)),
            // The task ended without a word: it panicked, or the runtime ends.
            Ok(None) | Err(_) => Err(self.forget(version, &outcome, "the attempt was broken off".to_owned())),
        }
    }

    fn order(&self, version: &KubeVersion) -> watch::Receiver<Outcome> {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(outcome) = versions.get(version) {
            return outcome.clone();
        }
        let (sender, outcome) = watch::channel(None);
        versions.insert(version.clone(), outcome.clone());
        let (programs, version) = (Arc::clone(&self.programs), version.clone());
        tokio::spawn(async move {
            sender.send_replace(Some(programs.directories(&version).await));
        });
        outcome
    }

    /// A failure is told once and tried anew by the next call.
    fn forget(&self, version: &KubeVersion, outcome: &watch::Receiver<Outcome>, reason: String) -> Error {
        let mut versions = self.versions.lock().unwrap_or_else(PoisonError::into_inner);
        if versions.get(version).is_some_and(|known| known.same_channel(outcome)) {
            versions.remove(version);
        }
        Error::Programs { version: version.to_string(), reason }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Waits for a permit, then fails the first time.
    struct Slow {
        permits: Semaphore,
        calls: AtomicU32,
    }

    #[async_trait]
    impl Programs for Slow {
        async fn directories(&self, version: &KubeVersion) -> Result<Directories, String> {
            self.permits.acquire().await.map_err(|error| error.to_string())?.forget();
            if self.calls.fetch_add(1, Ordering::Relaxed) == 0 {
                return Err("no Go".to_owned());
            }
            let dir = PathBuf::from(format!("/{version}"));
            Ok(Directories { kubernetes: dir.clone(), containerd: dir.clone(), cni: dir })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_long_and_a_failure_is_tried_anew() {
        let slow = Arc::new(Slow { permits: Semaphore::new(0), calls: AtomicU32::new(0) });
        let shelf = Shelf::new(Arc::clone(&slow) as _);
        let version: KubeVersion = "v1.36.3".parse().unwrap();
        assert_eq!(shelf.get(&version).await.unwrap(), None);
        slow.permits.add_permits(1);
        let error = shelf.get(&version).await.unwrap_err();
        assert_eq!(error.to_string(), "programs of a node of Kubernetes v1.36.3 cannot be had: no Go");
        assert_eq!(shelf.get(&version).await.unwrap(), None);
        slow.permits.add_permits(1);
        assert!(shelf.get(&version).await.unwrap().is_some());
        assert!(shelf.get(&version).await.unwrap().is_some());
        assert_eq!(slow.calls.load(Ordering::Relaxed), 2);
    }
}
