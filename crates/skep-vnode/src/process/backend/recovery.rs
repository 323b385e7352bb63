//! Finding what an earlier run of the node left, and deleting what is not needed any more.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use super::ProcessBackend;
use crate::backend::{BackendError, PodUid, RecoveredPod, compact};
use crate::process::pod::Identity;
use crate::process::pod::layout;
use crate::process::pod::record::{self, FORMAT, PodRecord};
use crate::process::pod::worker::{Worker, sandbox_of_this_boot};
use crate::process::{marker, procfs, stop};

impl ProcessBackend {
    pub(super) async fn recover_all(&self) -> Result<Vec<RecoveredPod>, BackendError> {
        let directory = layout::pods(&self.site.config.data_dir);
        let doing = || format!("reading {}", directory.display());
        let entries = std::fs::read_dir(&directory).map_err(|source| BackendError::io(doing(), source))?;
        let mut recovered = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| BackendError::io(doing(), source))?;
            let Ok(uid) = PodUid::parse(&entry.file_name().to_string_lossy()) else { continue };
            match self.recover_one(&uid) {
                Ok(pod) => recovered.push(pod),
                Err(error) => {
                    tracing::warn!(pod = %uid, %error, "what is left of a pod makes no sense: it is deleted");
                    stop::sweep(&self.site.marker.join(uid.as_str()), None).await;
                    let _ = std::fs::remove_dir_all(entry.path());
                }
            }
        }
        self.end_strangers(&recovered).await;
        Ok(recovered)
    }

    fn recover_one(&self, uid: &PodUid) -> io::Result<RecoveredPod> {
        let path = layout::pods(&self.site.config.data_dir).join(uid.as_str()).join("pod.json");
        let mut record: PodRecord = record::load(&path)?.ok_or(io::ErrorKind::NotFound)?;
        compact(&mut record.pod);
        if record.format > FORMAT {
            return Err(io::Error::other(format!("format {} is newer than this program", record.format)));
        }
        let identity = Identity::of(&record.pod, &self.site).map_err(io::Error::other)?;
        if identity.uid != *uid {
            return Err(io::Error::other("it belongs to another pod"));
        }
        let boot = record.sandbox.rsplit_once('/').map(|(boot, _)| boot);
        let sandbox = if boot == Some(procfs::boot_id()) { record.sandbox } else { sandbox_of_this_boot(0) };
        let pod = Arc::new(record.pod);
        let mut worker =
            Worker::new(self.site.clone(), identity, pod.clone(), record.pod_ip, Some(sandbox), false);
        let running = worker.recover()?;
        self.adopt(uid.clone(), worker);
        Ok(RecoveredPod { uid: uid.clone(), pod, pod_ip: record.pod_ip, running })
    }

    /// Ends processes that carry our marker but belong to no pod that is known.
    async fn end_strangers(&self, recovered: &[RecoveredPod]) {
        let known: HashSet<&str> = recovered.iter().map(|pod| pod.uid.as_str()).collect();
        let found = match marker::find(&self.site.marker) {
            Ok(found) => found,
            Err(error) => {
                tracing::error!(%error, "cannot look for processes that were left behind");
                return;
            }
        };
        let strangers: HashSet<String> = found
            .iter()
            .filter_map(|process| {
                self.site.marker.below(&process.marker)?.first().map(|uid| (*uid).to_owned())
            })
            .filter(|uid| !known.contains(uid.as_str()))
            .collect();
        for uid in strangers {
            let killed = stop::sweep(&self.site.marker.join(&uid), None).await;
            tracing::warn!(pod = uid, killed, "ended processes of a pod that nobody knows");
        }
    }
}

/// Deletes everything of a stopped pod, however often it is called. What is behind its claims and host paths stays.
pub(super) async fn delete(identity: &Arc<Identity>) -> Result<(), BackendError> {
    let io =
        |source| BackendError::io(format!("deleting the files of pod {}", identity.short_name()), source);
    for left in (0..ROUNDS).rev() {
        // Nothing should be left; if something is, it must not go on without a directory.
        stop::sweep(&identity.marker, None).await;
        let root = identity.layout.root().to_path_buf();
        let deleted = identity.work.remove(move || {
            open_up(&root);
            match std::fs::remove_dir_all(&root) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        match deleted.await {
            Err(error) if left > 0 && error.kind() == io::ErrorKind::DirectoryNotEmpty => {
                tracing::debug!(
                    pod = identity.short_name(),
                    "something new was in a directory that was deleted"
                );
            }
            done => return done.map_err(io),
        }
    }
    Ok(())
}

/// How often a deletion begins again when something turned up in the directory meanwhile. Nothing of ours writes there
/// any more, so it was a process that the round before did not find.
const ROUNDS: usize = 5;

/// A program may have taken the right to delete from its own directories; links are not followed.
fn open_up(directory: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    let mut open = vec![directory.to_path_buf()];
    while let Some(directory) = open.pop() {
        let Ok(meta) = directory.symlink_metadata() else { continue };
        if meta.permissions().mode() & 0o700 != 0o700 {
            let _ = std::fs::set_permissions(&directory, PermissionsExt::from_mode(0o700));
        }
        let Ok(entries) = std::fs::read_dir(&directory) else { continue };
        open.extend(entries.flatten().filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()));
    }
}
