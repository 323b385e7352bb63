//! One maker per image: first among the tasks of this process, then among the processes of this machine.
//!
//! The lock between processes is `flock` on a file, so the kernel lets go of it when its holder dies, however it dies.

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, oneshot};

use crate::error::{Error, Result};
use crate::image::ImageRef;
use crate::progress::HEARTBEAT;

/// The locks of this process, one per image. Bounded by the number of recipes.
#[derive(Debug, Default)]
pub(crate) struct Locks(Mutex<HashMap<ImageRef, Arc<AsyncMutex<()>>>>);

/// While this lives, nobody else makes the image.
#[derive(Debug)]
pub(crate) struct Held {
    // In this order: the file first, so that a waiting task of this process finds it free.
    _file: File,
    _task: OwnedMutexGuard<()>,
}

impl Locks {
    /// Takes the lock of an image. `waiting` is called with the holder at once when it is not free, then every few
    /// seconds.
    ///
    /// # Errors
    /// [`Error::LockTimeout`] after `limit`, [`Error::Cache`] when the file cannot be locked at all.
    pub(crate) async fn acquire(
        &self,
        dir: &Path,
        image: &ImageRef,
        limit: Duration,
        waiting: impl Fn(&str),
    ) -> Result<Held> {
        let path = dir.join(format!("{}-{}.lock", image.name(), image.tag()));
        let deadline = Instant::now() + limit;
        let timeout = |holder: String| Error::LockTimeout { image: image.clone(), holder, waited: limit };

        let mutex = {
            let mut table = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(table.entry(image.clone()).or_default())
        };
        let task = match Arc::clone(&mutex).try_lock_owned() {
            Ok(guard) => guard,
            Err(_) => {
                let holder = || "another task of this process".to_owned();
                with_heartbeat(mutex.lock_owned(), deadline, || waiting(&holder()))
                    .await
                    .ok_or_else(|| timeout(holder()))?
            }
        };

        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(Error::io("open", &path, 1 << 20))?;
        let (file, task) = match file.try_lock() {
            Ok(()) => (file, task),
            Err(TryLockError::WouldBlock) => {
                let locked = lock_in_thread(file, task);
                let path_of_holder = path.clone();
                with_heartbeat(locked, deadline, || waiting(&holder(&path_of_holder)))
                    .await
                    .ok_or_else(|| timeout(holder(&path)))?
                    .map_err(Error::io("lock", &path, 0))?
            }
            Err(TryLockError::Error(error)) => return Err(Error::io("lock", &path, 0)(error)),
        };
        note_holder(&file);
        Ok(Held { _file: file, _task: task })
    }
}

/// Waits for the kernel's lock on a thread of its own. Not on the runtime's blocking pool: a runtime that shuts down
/// waits for its blocking threads, and this one may wait for as long as a stranger pleases. The task's guard goes along,
/// so that a process never has more than one such thread per image.
async fn lock_in_thread(
    file: File,
    task: OwnedMutexGuard<()>,
) -> std::io::Result<(File, OwnedMutexGuard<()>)> {
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new().name("skep-engine-lock".to_owned()).spawn(move || {
        let outcome = file.lock().map(|()| (file, task));
        // Nobody waits any more: dropping the outcome lets go of the lock.
        let _ = sender.send(outcome);
    })?;
    receiver.await.unwrap_or_else(|_| Err(std::io::Error::other("the waiting thread ended")))
}

/// Awaits a future, calling `beat` at once and then every few seconds. `None` when the deadline comes first.
async fn with_heartbeat<F: Future>(future: F, deadline: Instant, beat: impl Fn()) -> Option<F::Output> {
    let mut ticks = tokio::time::interval(HEARTBEAT);
    let deadline = tokio::time::sleep_until(deadline.into());
    tokio::pin!(future, deadline);
    loop {
        tokio::select! {
            output = &mut future => return Some(output),
            () = &mut deadline => return None,
            _ = ticks.tick() => beat(),
        }
    }
}

/// Leaves our process id in the file, for people who wait. It says nothing once the lock is free.
fn note_holder(mut file: &File) {
    let noted =
        file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    if let Err(error) = noted {
        tracing::debug!(%error, "cannot note the holder of a lock");
    }
}

fn holder(path: &PathBuf) -> String {
    let pid = fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}
