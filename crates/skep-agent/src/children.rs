//! Processes of the agent, and those that nobody else waits for.
//!
//! Guarantees: a signal never reaches a process that was not started here, because numbers are given back to the kernel
//! only under the same lock under which signals are sent; every process leads a group of its own, and what is left of the
//! group is killed when it ends. As the first process of a pid namespace the agent is given every orphan in it and must
//! wait for it: then nothing else in this process may start children, or its exit status would be taken away.

mod exit;
mod output;

use std::{
    collections::HashMap,
    io,
    process::Command,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use nix::{
    errno::Errno,
    sys::{
        signal::{Signal, kill, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid},
    },
    unistd::Pid,
};
use std::os::unix::process::CommandExt;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::watch,
};

pub(crate) use exit::Exit;

/// Starts processes and waits for them. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Children(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Whether orphans come to us.
    orphans: bool,
    running: Mutex<Running>,
}

/// Processes whose end was not seen yet, with those who want to know of it.
type Running = HashMap<Pid, watch::Sender<Option<Exit>>>;

/// A process that was started.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    exit: watch::Receiver<Option<Exit>>,
    children: Children,
}

impl Children {
    /// Begins to wait for children. Needs a tokio runtime, and must be there before the first process is started.
    pub(crate) fn new() -> io::Result<Self> {
        let mut ended = signal(SignalKind::child())?;
        let inner = Inner { orphans: std::process::id() == 1, running: Mutex::default() };
        let children = Self(Arc::new(inner));
        let weak = Arc::downgrade(&children.0);
        tokio::spawn(async move {
            while ended.recv().await.is_some() {
                match weak.upgrade() {
                    Some(inner) => inner.reap(),
                    None => break,
                }
            }
        });
        Ok(children)
    }

    /// Starts a process, leader of a group of its own.
    pub(crate) fn spawn(&self, mut command: Command) -> io::Result<Child> {
        command.process_group(0);
        // Its end is looked for only when it is known here.
        let mut running = self.0.lock();
        let child = command.spawn()?;
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap_or_default());
        let (sender, exit) = watch::channel(None);
        running.insert(pid, sender);
        Ok(Child { pid, exit, children: self.clone() })
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Running> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the status of everything that has ended.
    fn reap(&self) {
        let mut running = self.lock();
        for pid in running.keys().copied().collect::<Vec<_>>() {
            if ended(Id::Pid(pid)).is_some() {
                Self::take(&mut running, pid);
            }
        }
        // One after the other until nothing has ended: an event may stand for many ends.
        while self.orphans
            && let Some(pid) = ended(Id::All)
        {
            Self::take(&mut running, pid);
        }
    }

    /// Gives the number of an ended process back to the kernel.
    fn take(running: &mut Running, pid: Pid) {
        let sender = running.remove(&pid);
        if sender.is_some() {
            // While the leader is not waited for, its number, and so the group's, is not given to others.
            let _ = killpg(pid, Signal::SIGKILL);
        }
        let exit = waitpid(pid, Some(WaitPidFlag::WNOHANG)).map_or(Exit::Unknown, Exit::from);
        if let Some(sender) = sender {
            sender.send_replace(Some(exit));
        }
    }
}

/// A child that has ended and was not waited for.
fn ended(which: Id<'_>) -> Option<Pid> {
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    match waitid(which, flags) {
        Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => Some(pid),
        Ok(_) | Err(_) => None,
    }
}

impl Child {
    /// Its number.
    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// Waits for its end. Cancel safe; any number of times.
    pub(crate) async fn wait(&mut self) -> Exit {
        match self.exit.wait_for(Option::is_some).await {
            Ok(exit) => exit.unwrap_or(Exit::Unknown),
            Err(_) => Exit::Unknown,
        }
    }

    /// Sends it a signal. Too late is not an error.
    pub(crate) fn signal(&self, signal: Signal) {
        self.while_known(|pid| kill(pid, signal));
    }

    /// Kills it with its group.
    pub(crate) fn kill(&self) {
        self.while_known(|pid| killpg(pid, Signal::SIGKILL));
    }

    fn while_known(&self, send: impl FnOnce(Pid) -> Result<(), Errno>) {
        let running = self.children.0.lock();
        if running.contains_key(&self.pid)
            && let Err(error) = send(self.pid)
        {
            tracing::warn!(pid = self.pid.as_raw(), %error, "signal");
        }
    }
}

#[cfg(test)]
mod tests;
