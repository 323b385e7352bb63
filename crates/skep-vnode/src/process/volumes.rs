//! The volumes of a pod, as directories below one root that belongs to the pod.
//!
//! Guarantees: making volumes ready is idempotent and may be repeated while containers run; files of secrets,
//! configMaps, tokens and the downward API change all at once or not at all; no path that a pod names leaves the
//! volume it belongs to. Refuses kinds of volumes that need a mount (CSI, NFS, block devices, images).
//!
//! Secrets lie on disk, in directories nobody else can enter, where the kubelet uses memory: mounting one needs root.

mod atomic;
mod local;
mod payload;

use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Component, Path, PathBuf};

use futures::future::join_all;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, Volume};

pub(super) use local::size_of;
pub(super) use payload::File;

use super::work::DirectoryWork;
use crate::backend::PodContext;

/// Directory mode of a volume's root: whoever may enter the data directory (only the owner) may read it.
const VOLUME_MODE: u32 = 0o755;

/// Why a volume is not ready.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("MountVolume.SetUp failed for volume {volume:?} : {reason}")]
pub(super) struct VolumeError {
    /// Name of the volume in the pod.
    pub volume: String,
    /// For people, in the kubelet's words where it has some.
    pub reason: String,
}

/// What making the volumes ready gave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Prepared {
    /// When the next token must be replaced.
    pub renew_at: Option<Timestamp>,
    /// Volumes whose files were changed.
    pub changed: Vec<String>,
}

/// The real place of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    /// Below the pod's own root.
    Own,
    /// Elsewhere on the host.
    Host(PathBuf),
}

/// The volumes of one pod.
#[derive(Clone, Debug)]
pub(super) struct Volumes {
    root: PathBuf,
}

impl Volumes {
    /// Volumes below this directory.
    pub(super) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The directory itself.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes every volume ready, or up to date. All are tried; the first failure in the order of the pod is told.
    pub(super) async fn prepare(
        &self,
        pod: &Pod,
        context: &PodContext,
        work: &DirectoryWork,
    ) -> Result<Prepared, VolumeError> {
        let volumes: Vec<&Volume> = pod.spec.iter().flat_map(|s| s.volumes.iter().flatten()).collect();
        let results =
            join_all(volumes.iter().map(|volume| Box::pin(self.one(volume, pod, context, work)))).await;
        let mut all = Prepared::default();
        for (volume, result) in volumes.iter().zip(results) {
            let (changed, renew) =
                result.map_err(|reason| VolumeError { volume: volume.name.clone(), reason })?;
            if changed {
                all.changed.push(volume.name.clone());
            }
            all.renew_at = [all.renew_at, renew].into_iter().flatten().min();
        }
        Ok(all)
    }

    async fn one(
        &self,
        volume: &Volume,
        pod: &Pod,
        context: &PodContext,
        work: &DirectoryWork,
    ) -> Result<(bool, Option<Timestamp>), String> {
        let say = |error: io::Error| error.to_string();
        let own = self.root.join(safe_name(&volume.name)?);
        if let Some((files, renew)) = payload::files(volume, pod, context).await? {
            let changed = work.run(move || {
                make_directory(&own, VOLUME_MODE)?;
                atomic::write(&own, &files)
            });
            return Ok((changed.await.map_err(say)?, renew));
        }
        if volume.empty_dir.is_some() {
            work.run(move || local::make_shared_directory(&own)).await.map_err(say)?;
        } else if let Some(host) = volume.host_path.clone() {
            work.run(move || Ok(local::check_host_path(&host))).await.map_err(say)??;
        } else if let Some(claim) = claim_name(volume, pod) {
            let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
            let found = context.sources.claim(namespace, &claim).await.map_err(|e| e.to_string())?;
            let directory = found.ok_or_else(|| format!("persistentvolumeclaim {claim:?} not found"))?;
            work.run(move || local::link(&own, &directory)).await.map_err(say)?;
        } else {
            return Err(format!(
                "SKEP-7102: {} volumes need a mount and cannot be had on a node that runs pods as processes",
                local::kind(volume)
            ));
        }
        Ok((false, None))
    }

    /// The real path of a mounted volume, with an optional path inside it, which is made when it is missing.
    pub(super) fn locate(&self, volume: &Volume, sub_path: &str) -> Result<PathBuf, String> {
        let base = match place(volume) {
            Place::Host(path) => path,
            Place::Own => {
                let own = self.root.join(safe_name(&volume.name)?);
                // A claim is a link: the directory itself looks better in a process list and survives the pod.
                std::fs::read_link(&own).unwrap_or(own)
            }
        };
        if sub_path.is_empty() {
            return Ok(base);
        }
        let relative = relative(sub_path).map_err(|why| format!("subPath {sub_path:?}: {why}"))?;
        local::enter(&base, &relative)
            .map_err(|why| format!("subPath {sub_path:?} of volume {:?}: {why}", volume.name))
    }
}

fn place(volume: &Volume) -> Place {
    match &volume.host_path {
        Some(host) => Place::Host(PathBuf::from(&host.path)),
        None => Place::Own,
    }
}

/// The claim behind a volume, if there is one.
fn claim_name(volume: &Volume, pod: &Pod) -> Option<String> {
    if let Some(claim) = &volume.persistent_volume_claim {
        return Some(claim.claim_name.clone());
    }
    let pod_name = pod.metadata.name.as_deref().unwrap_or_default();
    volume.ephemeral.as_ref().map(|_| format!("{pod_name}-{}", volume.name))
}

fn make_directory(path: &Path, mode: u32) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)
}

/// Names come from the API, which allows DNS labels only; a pod from elsewhere must not get further.
pub(super) fn safe_name(name: &str) -> Result<&str, String> {
    let fits = !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\0']) && name.len() <= 253;
    if fits { Ok(name) } else { Err(format!("{name:?} is not a name")) }
}

/// A path below something, without a way out.
pub(super) fn relative(path: &str) -> Result<PathBuf, String> {
    let parsed = Path::new(path);
    if path.is_empty() {
        return Err("it is empty".into());
    }
    if path.contains('\0') {
        return Err("it holds a NUL byte".into());
    }
    let mut clean = PathBuf::new();
    for part in parsed.components() {
        match part {
            Component::Normal(name) => clean.push(name),
            Component::CurDir => {}
            Component::ParentDir => return Err("it contains \"..\"".into()),
            Component::RootDir | Component::Prefix(_) => return Err("it is absolute".into()),
        }
    }
    if clean.as_os_str().is_empty() { Err("it names nothing".into()) } else { Ok(clean) }
}

#[cfg(test)]
mod tests;
