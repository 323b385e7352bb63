//! Real nodes on this one host: every machine has namespaces of its own and a place on a bridge.
//!
//! A machine is a network namespace with a cable to the bridge, a group of cgroups with its limits, a directory, and a
//! first process, the node agent, in mount, pid, uts, ipc and cgroup namespaces of its own. When the first process is killed
//! the kernel kills everything in the machine and takes its mounts away, so nothing is left behind however a machine ends.
//!
//! Machines go on when this process ends, however it ends. The next one finds them by their records and goes on with what
//! was begun. `tests/local/faults.rs` stops every call before each of its effects and checks that.

mod bridge;
mod cable;
mod cgroup;
mod check;
mod console;
mod ends;
pub(crate) mod files;
mod halt;
mod hands;
mod host;
mod launch;
mod limits;
mod links;
mod lock;
mod machine;
mod names;
mod network;
mod process;
mod programs;
mod record;
mod remove;
mod settings;
mod sweep;
mod zones;

use std::{path::PathBuf, sync::Arc};

use async_trait::async_trait;

pub use network::Network;
pub use programs::{Directories, EnginePrograms, Programs};
pub use settings::{Settings, Steps, ZoneLink};

use self::{
    cgroup::Hierarchies,
    ends::Ends,
    hands::Hands,
    lock::{InstallationLock, Locks},
    names::Names,
    programs::Shelf,
    record::{Book, Record},
};
use crate::{Deleted, Error, Machine, Order, Provider, Result};

/// The local machines of one installation. Cheap to clone; clones share their locks.
#[derive(Clone)]
pub struct Local {
    inner: Arc<Inner>,
}

struct Inner {
    settings: Settings,
    /// Name of the installation, part of every name on the host.
    installation: String,
    hands: Hands,
    book: Book,
    hierarchies: Hierarchies,
    shelf: Shelf,
    machines: Locks,
    ends: Ends,
    /// Held while records are made and while the bridge comes or goes.
    common: tokio::sync::Mutex<()>,
    _lock: InstallationLock,
}

impl Local {
    /// Takes over the installation in the data directory, or begins one. Machines that run go on. Call [`Local::check`]
    /// before the first one and [`Local::sweep`] now and then.
    ///
    /// # Errors
    /// [`Error::Locked`] while another process has it, [`Error::File`], [`Error::Damaged`], [`Error::Cgroups`].
    pub fn open(settings: Settings) -> Result<Self> {
        files::make_dir(&settings.data.join("machines"), 0o700)?;
        // Machines get paths, and may have another working directory than we have.
        let absolute = |path| std::path::absolute(path).map_err(Error::file("find", path));
        let settings =
            Settings { data: absolute(&settings.data)?, skep: absolute(&settings.skep)?, ..settings };
        let lock = InstallationLock::take(&settings.data)?;
        let inner = Inner {
            installation: names::installation(&settings.data)?,
            hands: Hands::new(settings.steps.clone()),
            book: Book::new(&settings.data),
            hierarchies: Hierarchies::mounted()?,
            shelf: Shelf::new(Arc::clone(&settings.programs)),
            machines: Locks::default(),
            ends: Ends::default(),
            common: tokio::sync::Mutex::default(),
            _lock: lock,
            settings,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Where this host has what the agent of a machine writes, which is `/var/lib/skep` in the machine.
    pub fn state(&self, uid: &str) -> PathBuf {
        self.inner.book.dir(uid).join(launch::OWN_STATE)
    }

    /// The beginning of a command line that runs a program inside a running machine; `None` when there is no such machine.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Damaged`].
    pub fn enter(&self, uid: &str) -> Result<Option<Vec<String>>> {
        let Some(record) = self.inner.book.read(uid)? else { return Ok(None) };
        let Some(first) = launch::running(&self.inner.book.dir(&record.uid)) else { return Ok(None) };
        let target = format!("--target={}", first.pid());
        let words = ["nsenter", &target, "--mount", "--pid", "--uts", "--ipc", "--net", "--cgroup", "--"];
        Ok(Some(words.map(str::to_owned).to_vec()))
    }
}

impl Inner {
    fn names(&self, record: &Record) -> Names {
        record.names(&self.installation, &self.settings.cgroup)
    }
}

#[async_trait]
impl Provider for Local {
    async fn ensure(&self, order: &Order) -> Result<Machine> {
        let _one_at_a_time = self.inner.machines.take(&order.uid).await?;
        self.inner.ensure(order).await
    }

    async fn get(&self, uid: &str) -> Result<Option<Machine>> {
        self.inner.get(uid)
    }

    async fn ended(&self) -> String {
        self.inner.ends.next().await
    }

    async fn delete(&self, uid: &str) -> Result<Deleted> {
        let Ok(one_at_a_time) = self.inner.machines.take(uid).await else { return Ok(Deleted::Pending) };
        remove::delete(&self.inner, uid, one_at_a_time).await
    }

    async fn reboot(&self, uid: &str) -> Result<()> {
        let _one_at_a_time = self.inner.machines.take(uid).await?;
        self.inner.reboot(uid).await
    }

    async fn console(&self, uid: &str) -> Result<String> {
        let no_machine = || Error::NoMachine { uid: uid.to_owned() };
        let record = self.inner.book.read(uid)?.ok_or_else(no_machine)?;
        let dir = self.inner.book.dir(&record.uid);
        console::cut(&dir)?;
        console::tail(&dir, console::SHOWN)
    }
}
