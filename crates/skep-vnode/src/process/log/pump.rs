//! Notices that raw files have grown and has them copied: one inotify descriptor and one task for a whole node.

use std::collections::{HashMap, HashSet};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::capture::Copier;
use super::{LogPaths, LogPolicy};
use crate::process::sys;

/// After copying, this long nothing is copied: many small writes become one step. The first line is never late.
const REST: Duration = Duration::from_millis(200);
/// How soon a failed step is repeated (disk full), and how often files are looked at that cannot be watched.
const RETRY: Duration = Duration::from_secs(1);
/// Room for many events in one read.
const BUFFER: usize = 16 * 1024;

/// The pump of a node. Copying stops when it is dropped; nothing is lost by that.
pub struct LogPump {
    shared: Arc<Shared>,
    _stop: DropGuard,
}

struct Shared {
    inotify: AsyncFd<OwnedFd>,
    watches: Mutex<Watches>,
    poke: Notify,
    ids: AtomicU64,
}

#[derive(Default)]
struct Watches {
    /// Watch descriptor → directory and those who write there.
    directories: HashMap<i32, Directory>,
    /// To be looked at again soon: failed steps, and those that no watch could be had for.
    later: HashMap<u64, Weak<Cell>>,
    /// To be looked at now, without an event.
    now: HashMap<u64, Weak<Cell>>,
}

struct Directory {
    path: PathBuf,
    writers: Vec<Weak<Cell>>,
}

/// How far a log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Progress {
    /// Grows with every step that wrote something.
    pub steps: u64,
    /// Nothing will follow.
    pub ended: bool,
}

struct Cell {
    id: u64,
    names: [String; 2],
    watched: bool,
    copier: Mutex<Option<Copier>>,
    progress: watch::Sender<Progress>,
}

/// The log of one container that runs. Clones are the same log. Dropping it stops nothing.
#[derive(Clone)]
pub struct Capture {
    cell: Arc<Cell>,
    shared: Arc<Shared>,
    paths: LogPaths,
}

impl LogPump {
    /// Starts the task. Needs a tokio runtime.
    pub fn start() -> io::Result<Self> {
        let fd = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        let inotify = sys::watch(fd, Interest::READABLE)?;
        let shared = Arc::new(Shared {
            inotify,
            watches: Mutex::default(),
            poke: Notify::new(),
            ids: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(run(shared.clone())));
        Ok(Self { shared, _stop: stop.drop_guard() })
    }

    /// Begins to copy the output of a container, or goes on where an earlier run of the node stopped.
    pub async fn open(&self, paths: LogPaths, policy: LogPolicy) -> io::Result<Capture> {
        let opened = paths.clone();
        let copier = tokio::task::spawn_blocking(move || Copier::open(opened, policy)).await??;
        let shared = self.shared.clone();
        let (progress, _) = watch::channel(Progress { steps: 0, ended: false });
        let mut watches = shared.watches();
        let watch = inotify::add_watch(&shared.inotify, &paths.raw, WatchFlags::MODIFY | WatchFlags::ONLYDIR);
        if let Err(error) = watch {
            tracing::debug!(%error, "no watch for a log: it is looked at every second");
        }
        let cell = Arc::new(Cell {
            id: shared.ids.fetch_add(1, Ordering::Relaxed),
            names: [paths.name(0), paths.name(1)],
            watched: watch.is_ok(),
            copier: Mutex::new(Some(copier)),
            progress,
        });
        if let Ok(descriptor) = watch {
            let directory = watches.directories.entry(descriptor);
            let directory =
                directory.or_insert_with(|| Directory { path: paths.raw.clone(), writers: Vec::new() });
            directory.writers.push(Arc::downgrade(&cell));
        } else {
            watches.later.insert(cell.id, Arc::downgrade(&cell));
        }
        // Something may have been written before there was a watch.
        watches.now.insert(cell.id, Arc::downgrade(&cell));
        drop(watches);
        shared.poke.notify_one();
        Ok(Capture { cell, shared, paths })
    }
}

impl Capture {
    /// Where its files are.
    pub fn paths(&self) -> &LogPaths {
        &self.paths
    }

    /// Copies everything that is there now.
    pub async fn flush(&self) -> io::Result<()> {
        let cell = self.cell.clone();
        tokio::task::spawn_blocking(move || cell.copy_all(false)).await?
    }

    /// Copies the rest after the container has ended, and deletes the raw files.
    pub async fn finish(&self) -> io::Result<()> {
        let cell = self.cell.clone();
        let done = tokio::task::spawn_blocking(move || cell.copy_all(true)).await?;
        self.shared.forget(&self.cell);
        self.cell.progress.send_modify(|p| p.ended = true);
        done
    }

    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.cell.progress.subscribe()
    }
}

impl Cell {
    fn lock(&self) -> MutexGuard<'_, Option<Copier>> {
        self.copier.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copy_all(&self, last: bool) -> io::Result<()> {
        let mut copier = self.lock();
        loop {
            let Some(open) = copier.as_mut() else { return Ok(()) };
            let step = open.step(last)?;
            self.announce(step.wrote);
            if !step.more {
                break;
            }
        }
        if last && let Some(done) = copier.take() {
            done.forget_raw();
        }
        Ok(())
    }

    /// One bounded step. Returns whether it wants another.
    fn copy_some(&self) -> io::Result<bool> {
        let mut copier = self.lock();
        let Some(open) = copier.as_mut() else { return Ok(false) };
        let step = open.step(false)?;
        self.announce(step.wrote);
        Ok(step.more)
    }

    fn announce(&self, wrote: bool) {
        if wrote {
            self.progress.send_modify(|p| p.steps += 1);
        }
    }
}

impl Shared {
    fn watches(&self) -> MutexGuard<'_, Watches> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget(&self, cell: &Arc<Cell>) {
        let mut watches = self.watches();
        watches.later.remove(&cell.id);
        watches.now.remove(&cell.id);
        let mut empty = Vec::new();
        for (descriptor, directory) in &mut watches.directories {
            directory.writers.retain(|w| w.upgrade().is_some_and(|w| w.id != cell.id));
            if directory.writers.is_empty() {
                empty.push(*descriptor);
            }
        }
        for descriptor in empty {
            if let Some(gone) = watches.directories.remove(&descriptor)
                && let Err(error) = inotify::remove_watch(&self.inotify, descriptor)
            {
                // The directory itself may be gone, and its watch with it.
                tracing::trace!(path = %gone.path.display(), %error, "a watch was gone already");
            }
        }
    }

    /// Takes all waiting events. Returns those that wrote.
    fn events(&self, dirty: &mut HashMap<u64, Weak<Cell>>) -> io::Result<()> {
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = inotify::Reader::new(self.inotify.get_ref(), &mut buffer);
        let watches = self.watches();
        loop {
            let event = match reader.next() {
                Ok(event) => event,
                Err(rustix::io::Errno::AGAIN) => return Ok(()),
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            let everybody = event.events().contains(ReadFlags::QUEUE_OVERFLOW);
            let name = event.file_name().and_then(|n| n.to_str().ok()).unwrap_or_default();
            let hit = |d: &&Directory| {
                everybody || watches.directories.get(&event.wd()).is_some_and(|w| std::ptr::eq(w, *d))
            };
            for cell in
                watches.directories.values().filter(hit).flat_map(|d| &d.writers).filter_map(Weak::upgrade)
            {
                if everybody || cell.names.iter().any(|n| n == name) {
                    dirty.insert(cell.id, Arc::downgrade(&cell));
                }
            }
        }
    }
}

async fn run(shared: Arc<Shared>) {
    loop {
        let mut dirty = HashMap::new();
        let waiting = !shared.watches().later.is_empty();
        tokio::select! {
            ready = shared.inotify.readable() => {
                let Ok(mut ready) = ready else { return };
                if let Err(error) = shared.events(&mut dirty) {
                    tracing::error!(%error, "cannot read what has been logged");
                }
                ready.clear_ready();
            }
            () = shared.poke.notified() => {}
            () = tokio::time::sleep(RETRY), if waiting => dirty.extend(shared.watches().later.clone()),
        }
        dirty.extend(std::mem::take(&mut shared.watches().now));
        let cells: Vec<Arc<Cell>> = dirty.into_values().filter_map(|c| c.upgrade()).collect();
        if cells.is_empty() {
            continue;
        }
        // Fails only when the runtime is shutting down.
        let Ok((failed, more)) = tokio::task::spawn_blocking(move || copy(&cells)).await else { return };
        settle(&shared, failed, more);
        tokio::time::sleep(REST).await;
    }
}

/// Copies a bit for each. Returns those that failed and those that want more, the former with whether it was news.
fn copy(cells: &[Arc<Cell>]) -> (HashSet<u64>, Vec<Arc<Cell>>) {
    let (mut failed, mut more) = (HashSet::new(), Vec::new());
    for cell in cells {
        match cell.copy_some() {
            Ok(true) => more.push(cell.clone()),
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(log = cell.names[0], %error, "cannot store what a container has logged; trying again");
                failed.insert(cell.id);
                more.push(cell.clone());
            }
        }
    }
    (failed, more)
}

fn settle(shared: &Shared, failed: HashSet<u64>, more: Vec<Arc<Cell>>) {
    let mut watches = shared.watches();
    watches.later.retain(|_, cell| cell.upgrade().is_some_and(|c| !c.watched));
    for cell in more {
        let list = if failed.contains(&cell.id) { &mut watches.later } else { &mut watches.now };
        list.insert(cell.id, Arc::downgrade(&cell));
    }
    if !watches.now.is_empty() {
        shared.poke.notify_one();
    }
}
