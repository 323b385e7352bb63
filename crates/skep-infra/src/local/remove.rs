//! Taking a machine away, in an order that a killed process can go on with: the record goes last.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::timeout;

use skep_agent::mounts;

use super::{Inner, bridge, cable, files, launch, lock::Held, names::Names, process};
use crate::{Deleted, Error, Result};

/// How long processes of a machine may take to end after they are killed: they may be writing to a slow disk.
const ENDING: Duration = Duration::from_secs(15);
/// How long a call waits for a machine's files to be removed; the removal goes on.
const REMOVING: Duration = Duration::from_secs(20);
/// Processes named in an error.
const NAMED: usize = 8;

/// Removes a machine with everything that belongs to it. The lock is held until its files are gone.
pub(super) async fn delete(inner: &Arc<Inner>, uid: &str, lock: Held) -> Result<Deleted> {
    if let Some(mut record) = inner.book.read(uid)? {
        record.deleting = true;
        inner.book.update(&inner.hands, &record)?;
        let dir = inner.book.dir(uid);
        match clear(inner, &record.name, &dir, &inner.names(&record)).await {
            Err(Error::StillRunning { .. }) => return Ok(Deleted::Pending),
            other => other?,
        }
        unmount(inner, &dir).await?;
        inner.hands.rename(&dir, &inner.book.gone(uid))?;
    }
    let gone = inner.book.gone(uid);
    inner.hands.step("remove the files")?;
    // A node has hundreds of thousands of files when it has images.
    let removal = tokio::task::spawn_blocking(move || {
        let _one_at_a_time = lock;
        files::remove_all(&gone)
    });
    let Ok(removed) = timeout(REMOVING, removal).await else { return Ok(Deleted::Pending) };
    removed.map_err(|error| Error::file("remove", inner.book.gone(uid))(std::io::Error::other(error)))??;
    last_one_out(inner).await?;
    Ok(Deleted::Gone)
}

/// The last machine takes the bridge with it.
pub(super) async fn last_one_out(inner: &Inner) -> Result<()> {
    let _one_at_a_time = inner.common.lock().await;
    if inner.book.all()?.is_empty() {
        bridge::remove(&inner.hands, &inner.settings.network, &inner.installation).await?;
    }
    Ok(())
}

/// Kills what runs of a machine and removes everything of it but its directory.
pub(super) async fn clear(inner: &Inner, machine: &str, dir: &Path, names: &Names) -> Result<()> {
    end(inner, machine, dir, names).await?;
    cable::remove(&inner.hands, names).await?;
    inner.hierarchies.remove(&inner.hands, &names.cgroup).await
}

/// Ends every process of a machine. The first one takes all others with it; what is left then are the programs that
/// waited for it outside.
async fn end(inner: &Inner, machine: &str, dir: &Path, names: &Names) -> Result<()> {
    let until = Instant::now() + ENDING;
    let mut held: Vec<_> = launch::running(dir).into_iter().collect();
    loop {
        if held.is_empty() {
            held = inner.hierarchies.hold(&names.cgroup)?;
        }
        if held.is_empty() {
            return Ok(());
        }
        inner.hands.step("kill processes")?;
        held.iter().for_each(process::Handle::kill);
        held = process::wait_all(held, until.saturating_duration_since(Instant::now())).await;
        if !held.is_empty() || Instant::now() >= until {
            let left = held.iter().take(NAMED);
            let processes: Vec<_> =
                left.map(|p| format!("{} ({})", p.pid(), process::name(p.pid()))).collect();
            return Err(Error::StillRunning { machine: machine.to_owned(), processes: processes.join(", ") });
        }
    }
}

/// A machine mounts nothing where the host sees it. If somebody else has mounted something in its directory, removing the
/// directory must not reach into that.
async fn unmount(inner: &Inner, dir: &Path) -> Result<()> {
    let mut inside: Vec<_> = mounts::all()
        .map_err(Error::file("read mounts below", dir))?
        .into_iter()
        .map(|mount| mount.at)
        .collect();
    inside.retain(|mount| mount.starts_with(dir));
    // The innermost first.
    for mount in inside.iter().rev() {
        inner.hands.run("umount", &["-n", "--lazy", &mount.to_string_lossy()], "").await?;
    }
    Ok(())
}
