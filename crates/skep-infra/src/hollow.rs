//! Hollow machines: there is a record of each and nothing else. Whoever plays their nodes ([`Hollow::changes`]) reads here
//! which there should be.
//!
//! Records are on disk, one file each, written before anybody is told: machines are there again after any crash.

mod record;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::sync::watch;

use record::Book;
pub use record::HollowMachine;

use crate::{Deleted, Error, Machine, Order, Provider, Result, State};

/// The hollow machines of one installation. Cheap to clone; clones are the same.
#[derive(Clone, Debug)]
pub struct Hollow {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    book: Book,
    machines: Mutex<BTreeMap<String, Arc<HollowMachine>>>,
    changed: watch::Sender<u64>,
}

impl Hollow {
    /// Takes over the machines of a directory, or begins with none. One process at a time may have it: whoever opens an
    /// installation holds its lock.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn open(dir: &Path) -> Result<Self> {
        let book = Book::open(dir)?;
        let machines =
            book.all()?.into_iter().map(|machine| (machine.uid.clone(), Arc::new(machine))).collect();
        let inner = Inner { book, machines: Mutex::new(machines), changed: watch::Sender::new(0) };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// All machines, by uid.
    pub fn machines(&self) -> Vec<Arc<HollowMachine>> {
        self.lock().values().cloned().collect()
    }

    /// Tells that machines have come, gone or changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.inner.changed.subscribe()
    }

    /// Where the records are.
    pub fn dir(&self) -> PathBuf {
        self.inner.book.dir().to_owned()
    }

    /// Writes a machine down, then tells. The lock is held so that two calls end with the record of the later one.
    fn put(&self, machines: &mut BTreeMap<String, Arc<HollowMachine>>, machine: HollowMachine) -> Result<()> {
        self.inner.book.write(&machine)?;
        machines.insert(machine.uid.clone(), Arc::new(machine));
        self.inner.changed.send_modify(|version| *version += 1);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Arc<HollowMachine>>> {
        self.inner.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Provider for Hollow {
    async fn ensure(&self, order: &Order) -> Result<Machine> {
        let mut machines = self.lock();
        let known = machines.get(&order.uid);
        let wanted = HollowMachine::of(order, known.map_or(0, |known| known.boot))?;
        if known.is_none_or(|known| **known != wanted) {
            self.put(&mut machines, wanted.clone())?;
        }
        Ok(seen(&wanted))
    }

    async fn get(&self, uid: &str) -> Result<Option<Machine>> {
        Ok(self.lock().get(uid).map(|machine| seen(machine)))
    }

    async fn delete(&self, uid: &str) -> Result<Deleted> {
        let mut machines = self.lock();
        if machines.contains_key(uid) {
            self.inner.book.remove(uid)?;
            machines.remove(uid);
            self.inner.changed.send_modify(|version| *version += 1);
        }
        Ok(Deleted::Gone)
    }

    async fn reboot(&self, uid: &str) -> Result<()> {
        let mut machines = self.lock();
        let known = machines.get(uid).ok_or_else(|| Error::NoMachine { uid: uid.to_owned() })?;
        let mut rebooted = (**known).clone();
        rebooted.boot += 1;
        self.put(&mut machines, rebooted)
    }

    async fn console(&self, uid: &str) -> Result<String> {
        let machines = self.lock();
        let known = machines.get(uid).ok_or_else(|| Error::NoMachine { uid: uid.to_owned() })?;
        Ok(format!(
            "machine {} is hollow: it exists in the API of cluster {}/{} only and writes no console; restarts: {}\n",
            known.name, known.namespace, known.cluster, known.boot
        ))
    }
}

fn seen(machine: &HollowMachine) -> Machine {
    Machine { provider_id: machine.provider_id(), address: None, state: State::Running }
}

#[cfg(test)]
pub(crate) mod tests;
