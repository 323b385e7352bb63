//! A process that runs: waiting for its end, and signals that can never reach another process.
//!
//! A [`Process`] holds a pidfd, so the kernel's reuse of process numbers cannot hurt, and waiting costs one entry in
//! the runtime's epoll and no thread. Children and processes of an earlier run are handled alike; the difference is
//! how the exit status is learnt. A parent reaps its child. For others the status is read from `/proc` while their
//! parent has not reaped them, afterwards from the pidfd (Linux 6.15), and is [`Exit::Unknown`] where neither works.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use serde::{Deserialize, Serialize};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::OnceCell;

use super::procfs::{self, Stat};
use super::sys;

/// How long the status of somebody else's process is waited for after its end: its parent may be slow to reap it.
const FOREIGN_STATUS: Duration = Duration::from_millis(500);

/// How often it is looked at meanwhile.
const FOREIGN_POLL: Duration = Duration::from_millis(5);

/// Names one process of this machine for ever: number, start time, boot.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// Start time in clock ticks after boot.
    pub start_ticks: u64,
    /// Boot id.
    pub boot: String,
}

impl ProcessId {
    pub(super) fn of(stat: &Stat) -> Self {
        Self { pid: stat.pid, start_ticks: stat.start_ticks, boot: procfs::boot_id().to_owned() }
    }

    /// Whether `stat` is about this very process.
    pub(super) fn matches(&self, stat: &Stat) -> bool {
        self.pid == stat.pid && self.start_ticks == stat.start_ticks && self.boot == procfs::boot_id()
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It has ended, nobody knows how.
    Unknown,
}

impl Exit {
    /// Exit code as container runtimes report it: 128 + signal; 137 when unknown, like the kubelet does.
    pub fn code(self) -> i32 {
        match self {
            Self::Code(code) => code,
            Self::Signal(signal) => 128 + signal,
            Self::Unknown => 137,
        }
    }

    fn of_wait_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 { Self::Code((status >> 8) & 0xff) } else { Self::Signal(signal) }
    }
}

/// A process, running or ended. Clones are the same process.
#[derive(Clone)]
pub struct Process(Arc<Inner>);

struct Inner {
    id: ProcessId,
    pidfd: AsyncFd<OwnedFd>,
    child: bool,
    keep_group: bool,
    exit: OnceCell<Exit>,
}

impl Process {
    /// Takes over a process that something else started. `None` when it no longer runs or the number belongs to
    /// another process now. Needs a tokio runtime.
    pub fn adopt(id: &ProcessId) -> io::Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(id.pid) else { return Ok(None) };
        // First the descriptor, then the check: in this order the checked process is the one behind the descriptor.
        let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(stat) = procfs::stat(id.pid).filter(|s| id.matches(s)) else { return Ok(None) };
        let child = u32::try_from(stat.parent) == Ok(std::process::id());
        if stat.is_zombie() && !child {
            return Ok(None);
        }
        Self::new(id.clone(), pidfd, child, false).map(Some)
    }

    pub(super) fn of_child(pid: i32, keep_group: bool) -> io::Result<Self> {
        let raw = Pid::from_raw(pid).ok_or(io::ErrorKind::InvalidInput)?;
        // A child that nobody has reaped keeps its number, even when it has ended.
        let pidfd = rustix::process::pidfd_open(raw, PidfdFlags::empty())?;
        let stat = procfs::stat(pid).ok_or(io::ErrorKind::NotFound)?;
        Self::new(ProcessId::of(&stat), pidfd, true, keep_group)
    }

    fn new(id: ProcessId, pidfd: OwnedFd, child: bool, keep_group: bool) -> io::Result<Self> {
        let pidfd = sys::watch(pidfd, Interest::READABLE)?;
        Ok(Self(Arc::new(Inner { id, pidfd, child, keep_group, exit: OnceCell::new() })))
    }

    /// Its name for ever.
    pub fn id(&self) -> &ProcessId {
        &self.0.id
    }

    /// Its number.
    pub fn pid(&self) -> i32 {
        self.0.id.pid
    }

    /// How it ended, if it has and somebody waited.
    pub fn exit(&self) -> Option<Exit> {
        self.0.exit.get().copied()
    }

    /// Waits for its end. What a child leaves behind in its process group is killed at that moment (unless it was
    /// started with `keep_group`). Cancel safe; any number of callers may wait.
    pub async fn wait(&self) -> Exit {
        *self.0.exit.get_or_init(|| self.0.reap()).await
    }

    /// Sends a signal to the process alone. Too late is not an error.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match rustix::process::pidfd_send_signal(self.0.pidfd.get_ref(), signal) {
            Err(rustix::io::Errno::SRCH) => Ok(()),
            other => Ok(other?),
        }
    }

    /// Kills the process and its process group.
    pub fn kill(&self) -> io::Result<()> {
        self.0.kill_group();
        self.signal(Signal::KILL)
    }
}

impl Inner {
    async fn reap(&self) -> Exit {
        // An error of the descriptor itself cannot be waited out; the process counts as gone.
        if self.pidfd.readable().await.is_err() {
            return Exit::Unknown;
        }
        if !self.child {
            return self.foreign_status().await;
        }
        if !self.keep_group {
            // Before reaping: until then the number of the leader, and so of the group, cannot be reused.
            self.kill_group();
        }
        reap_child(self.pidfd.get_ref())
    }

    /// Only while the group's number is certainly still ours: the leader exists, if only as a zombie.
    fn kill_group(&self) {
        let ours = procfs::stat(self.id.pid).is_some_and(|s| self.id.matches(&s) && s.group == s.pid);
        if let (true, Some(group)) = (ours, Pid::from_raw(self.id.pid)) {
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }

    async fn foreign_status(&self) -> Exit {
        let read = async {
            loop {
                if let Some(stat) = procfs::stat(self.id.pid).filter(|s| self.id.matches(s) && s.is_zombie())
                {
                    return Exit::of_wait_status(stat.wait_status);
                }
                if let Some(status) = sys::reaped_status(self.pidfd.get_ref()) {
                    return Exit::of_wait_status(status);
                }
                if procfs::stat(self.id.pid).is_none_or(|s| !self.id.matches(&s)) {
                    return match sys::reaped_status(self.pidfd.get_ref()) {
                        Some(status) => Exit::of_wait_status(status),
                        None => Exit::Unknown,
                    };
                }
                // Old kernels have no event for "reaped by somebody else".
                tokio::time::sleep(FOREIGN_POLL).await;
            }
        };
        tokio::time::timeout(FOREIGN_STATUS, read).await.unwrap_or(Exit::Unknown)
    }
}

fn reap_child(pidfd: &OwnedFd) -> Exit {
    use std::os::fd::AsFd;
    match rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG)
    {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) => Exit::Code(code),
            (None, Some(signal)) => Exit::Signal(signal),
            (None, None) => Exit::Unknown,
        },
        // Another handle of the same child was quicker.
        Ok(None) | Err(_) => sys::reaped_status(pidfd).map_or(Exit::Unknown, Exit::of_wait_status),
    }
}

impl Drop for Inner {
    /// Nobody waits any more; a child must still be reaped when it ends, or it stays in the process table.
    fn drop(&mut self) {
        if !self.child || self.exit.initialized() {
            return;
        }
        let Some(pid) = Pid::from_raw(self.id.pid) else { return };
        let (Ok(runtime), Ok(fd)) =
            (tokio::runtime::Handle::try_current(), rustix::process::pidfd_open(pid, PidfdFlags::empty()))
        else {
            return;
        };
        runtime.spawn(async move {
            if let Ok(fd) = sys::watch(fd, Interest::READABLE)
                && fd.readable().await.is_ok()
            {
                reap_child(fd.get_ref());
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn exit_codes_are_those_of_container_runtimes() {
        assert_eq!(Exit::of_wait_status(3 << 8), Exit::Code(3));
        assert_eq!(Exit::of_wait_status(9).code(), 137);
        assert_eq!(Exit::of_wait_status(15 | 0x80).code(), 143);
        assert_eq!(Exit::Unknown.code(), 137);
    }
}
