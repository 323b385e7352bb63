//! One process per installation, one call at a time per machine.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions, TryLockError},
    io::{Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use tokio::{sync::OwnedMutexGuard, time::timeout};

use super::process;
use crate::{Error, Result};

/// How long the lock may outlive a process that was killed: a program that it was starting at that moment has the file open
/// until it is another program. There is no event for that.
const HANDOVER: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(10);
/// How long a call waits for another one of the same machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The lock of an installation. It is the kernel's (`flock`): it goes with the process however that ends.
pub(super) struct InstallationLock(File);

impl InstallationLock {
    pub(super) fn take(data: &Path) -> Result<Self> {
        let path = data.join("lock");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(Error::file("open", &path))?;
        let until = Instant::now() + HANDOVER;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(Error::file("lock", path)(error)),
                Err(TryLockError::WouldBlock) => {}
            }
            let text = fs::read_to_string(&path).unwrap_or_default();
            let pid = text.trim().parse::<i32>().unwrap_or(0);
            if process::runs(pid) || Instant::now() >= until {
                return Err(Error::Locked { data: data.to_owned(), pid: pid.unsigned_abs() });
            }
            std::thread::sleep(PAUSE);
        }
        // For people, and for the message above.
        let mut note = || {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        note().map_err(Error::file("write", path))?;
        Ok(Self(file))
    }
}

impl Drop for InstallationLock {
    /// By name: a program that is being started at this moment has the file open too until it is another program.
    fn drop(&mut self) {
        let _ = self.0.unlock();
    }
}

/// Locks of machines. Those that nobody has are forgotten.
#[derive(Default)]
pub(super) struct Locks(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

/// While this lives no other call does anything to the machine.
pub(super) type Held = OwnedMutexGuard<()>;

impl Locks {
    /// Takes the lock of a machine.
    pub(super) async fn take(&self, uid: &str) -> Result<Held> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| Arc::strong_count(lock) > 1);
            Arc::clone(locks.entry(uid.to_owned()).or_default())
        };
        let busy = |_| Error::Busy { machine: uid.to_owned(), why: "another call for it has not ended" };
        timeout(PATIENCE, lock.lock_owned()).await.map_err(busy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_installation_has_one_process() {
        let data = tempfile::tempdir().unwrap();
        let lock = InstallationLock::take(data.path()).unwrap();
        let Err(Error::Locked { pid, .. }) = InstallationLock::take(data.path()) else { panic!() };
        assert_eq!(pid, std::process::id());
        drop(lock);
        InstallationLock::take(data.path()).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn calls_of_one_machine_wait_for_each_other_and_not_for_ever() {
        let locks = Locks::default();
        let held = locks.take("a").await.unwrap();
        drop(locks.take("b").await.unwrap());
        let error = locks.take("a").await.unwrap_err();
        assert_eq!(error.to_string(), "machine a is busy: another call for it has not ended");
        drop(held);
        drop(locks.take("a").await.unwrap());
        assert_eq!(locks.0.lock().unwrap().len(), 1);
    }
}
