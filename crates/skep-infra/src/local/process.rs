//! Processes of machines: names for ever, and signals that can never reach another process.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};
use serde::{Deserialize, Serialize};
use tokio::io::{Interest, unix::AsyncFd};

/// Names one process of this host for ever: number, start time, boot.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// Start time in clock ticks after boot.
    pub start_ticks: u64,
    /// Boot id.
    pub boot: String,
}

impl ProcessId {
    /// The name of the process that has this number now.
    pub(super) fn of(pid: i32) -> Option<Self> {
        let (_, start_ticks) = stat(pid)?;
        Some(Self { pid, start_ticks, boot: boot() })
    }

    /// Takes hold of the process, if it runs.
    pub(super) fn open(&self) -> Option<Handle> {
        // First the descriptor, then the check: in this order the checked process is the one behind the descriptor.
        let handle = Handle::open(self.pid)?;
        (self.boot == boot() && self.runs()).then_some(handle)
    }

    fn runs(&self) -> bool {
        stat(self.pid)
            .is_some_and(|(state, start)| start == self.start_ticks && !matches!(state, b'Z' | b'X'))
    }
}

/// A process that is held: its number cannot become another process's for whoever has this.
#[derive(Debug)]
pub(super) struct Handle {
    pid: i32,
    pidfd: OwnedFd,
}

impl Handle {
    pub(super) fn open(pid: i32) -> Option<Self> {
        let pidfd = pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()?;
        Some(Self { pid, pidfd })
    }

    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Kills it; too late is fine.
    pub(super) fn kill(&self) {
        let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
    }

    /// Waits for its end.
    #[allow(unsafe_code)]
    pub(super) async fn end(self) -> io::Result<()> {
        // SAFETY: the descriptor is ours, and stays open as long as the one that owns it here.
        let pidfd = unsafe { AsyncFd::register_with_interest(self.pidfd, Interest::READABLE) }?;
        pidfd.readable().await.map(drop)
    }

    fn ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.pidfd, PollFlags::IN)];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
    }
}

/// Waits until all of them have ended, by event; gives back those that have not in time. The end of the first process of
/// a pid namespace comes after the end of all others in it.
pub(super) async fn wait_all(handles: Vec<Handle>, limit: Duration) -> Vec<Handle> {
    let until = Instant::now() + limit;
    let waiting = tokio::task::spawn_blocking(move || {
        let mut left = handles;
        loop {
            left.retain(|handle| !handle.ended());
            let rest = until.saturating_duration_since(Instant::now());
            if left.is_empty() || rest.is_zero() {
                return left;
            }
            let mut fds: Vec<_> = left
                .iter()
                .map(|handle| PollFd::from_borrowed_fd(handle.pidfd.as_fd(), PollFlags::IN))
                .collect();
            let limit = Timespec {
                tv_sec: i64::try_from(rest.as_secs()).unwrap_or(1),
                tv_nsec: i64::from(rest.subsec_nanos()),
            };
            let _ = poll(&mut fds, Some(&limit));
        }
    });
    waiting.await.unwrap_or_default()
}

/// Whether there is a process of this number that has not ended.
pub(super) fn runs(pid: i32) -> bool {
    stat(pid).is_some_and(|(state, _)| !matches!(state, b'Z' | b'X'))
}

/// Name of a process, for people.
pub(super) fn name(pid: i32) -> String {
    fs::read_to_string(format!("/proc/{pid}/comm"))
        .map_or_else(|_| "?".to_owned(), |name| name.trim().to_owned())
}

/// Whether a process is the first one of a pid namespace that is a child of ours. Containers' are further down.
pub(super) fn is_first_of_machine(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
    // The list begins with the number in the namespace of the reader.
    numbers.is_some_and(|numbers| numbers.split_whitespace().skip(1).eq(["1"]))
}

/// State and start time of `/proc/PID/stat` (proc_pid_stat(5)).
fn stat(pid: i32) -> Option<(u8, u64)> {
    parse_stat(&fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// The program name is in parentheses and may itself hold spaces and parentheses: fields count from the last `)`.
fn parse_stat(text: &[u8]) -> Option<(u8, u64)> {
    let close = text.iter().rposition(|&b| b == b')')?;
    let rest = std::str::from_utf8(text.get(close + 1..)?).ok()?;
    // The first one is field 3 of the manual page.
    let mut fields = rest.split_ascii_whitespace();
    let state = *fields.next()?.as_bytes().first()?;
    Some((state, fields.nth(22 - 4)?.parse().ok()?))
}

/// Names this boot of the host; start times of different boots do not compare.
fn boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_program_may_be_called_anything() {
        let line = b"42 (a) b ) R 1 42 41 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 998 1 2 3";
        assert_eq!(parse_stat(line), Some((b'R', 998)));
        assert_eq!(parse_stat(b"1 (x"), None);
        assert_eq!(parse_stat(b""), None);
    }

    #[tokio::test]
    async fn a_process_is_held_until_it_ends() {
        let mut child = Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let id = ProcessId::of(pid).unwrap();
        let handle = id.open().unwrap();
        let handles = wait_all(vec![handle], Duration::from_millis(1)).await;
        assert_eq!(handles.len(), 1, "it runs");
        handles[0].kill();
        assert!(wait_all(handles, Duration::from_secs(20)).await.is_empty());
        assert!(id.open().is_none(), "a zombie does not run");
        child.wait().unwrap();
        assert!(id.open().is_none());
    }

    #[test]
    fn a_reused_number_is_another_process() {
        let me = ProcessId::of(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(me.open().is_some());
        let other = |id: ProcessId| assert!(id.open().is_none());
        other(ProcessId { start_ticks: me.start_ticks - 1, ..me.clone() });
        other(ProcessId { boot: "earlier".to_owned(), ..me.clone() });
        other(ProcessId { pid: i32::MAX, ..me.clone() });
        assert!(!is_first_of_machine(me.pid));
    }
}
