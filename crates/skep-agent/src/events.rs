//! Noticing that something in a directory has changed, without asking again and again.

use std::{io, path::Path};

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use tokio::{io::AsyncReadExt, net::unix::pipe::Receiver};

/// Room for some events; which they are does not matter.
const EVENTS: usize = 4096;

/// Changes of the names in one directory: files made, replaced, moved in, removed.
#[derive(Debug)]
pub(crate) struct Changes {
    // A descriptor of inotify is read like a pipe.
    events: Receiver,
}

impl Changes {
    /// Watches a directory, which must be there.
    pub(crate) fn of(directory: &Path) -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        let names = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE;
        inotify.add_watch(directory, names | AddWatchFlags::IN_CLOSE_WRITE)?;
        Ok(Self { events: Receiver::from_owned_fd_unchecked(inotify.into())? })
    }

    /// Waits until something has changed since the watch was set or this was called last. Cancel safe.
    pub(crate) async fn next(&mut self) -> io::Result<()> {
        self.events.read(&mut [0; EVENTS]).await.map(drop)
    }
}

/// Waits until a file is there. Its directory must be.
pub(crate) async fn appears(path: &Path) -> io::Result<()> {
    let mut changes = Changes::of(path.parent().unwrap_or(Path::new("/")))?;
    // First the watch, then the look: what comes in between is told about.
    while !path.exists() {
        changes.next().await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, time::Duration};

    use tokio::time::timeout;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test]
    async fn a_link_that_appears_is_noticed_and_its_replacement_too() {
        let dir = tempfile::tempdir().unwrap();
        let current = dir.path().join("current");
        fs::write(dir.path().join("1"), "").unwrap();
        let waiting = tokio::spawn({
            let current = current.clone();
            async move { appears(&current).await }
        });
        symlink("1", &current).unwrap();
        timeout(PATIENCE, waiting).await.unwrap().unwrap().unwrap();
        // Already there: no event is needed.
        timeout(PATIENCE, appears(&current)).await.unwrap().unwrap();

        let mut changes = Changes::of(dir.path()).unwrap();
        symlink("1", dir.path().join("new")).unwrap();
        fs::rename(dir.path().join("new"), &current).unwrap();
        timeout(PATIENCE, changes.next()).await.unwrap().unwrap();
    }
}
