//! Ending processes: politely, then certainly, leaving nothing behind.

use std::collections::HashSet;
use std::io;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::Interest;

use super::handle::{Exit, Process, ProcessId};
use super::marker::{self, Marker};
use super::{procfs, sys};

/// How long a killed process may take to disappear before we go on without it: it hangs inside the kernel then.
const AFTER_KILL: Duration = Duration::from_secs(10);
/// How often the process table is gone through when new processes keep turning up.
const ROUNDS: usize = 50;

/// How to end a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopPlan {
    /// The polite signal, sent to the main process only.
    pub signal: Signal,
    /// How long it has before it and its group are killed.
    pub grace: Duration,
}

impl StopPlan {
    /// SIGTERM and this much time.
    pub fn term(grace: Duration) -> Self {
        Self { signal: Signal::TERM, grace }
    }
}

/// Ends a process: polite signal, grace, SIGKILL to the whole group, then everything that carries the marker. Returns
/// when nothing is left.
pub async fn stop(process: &Process, marker: &Marker, plan: StopPlan) -> Exit {
    let _ = process.signal(plan.signal);
    let exit = match tokio::time::timeout(plan.grace, process.wait()).await {
        Ok(exit) => exit,
        Err(_) => kill(process).await,
    };
    sweep(marker, Some(process.id())).await;
    exit
}

/// Kills a process and its group and waits for the end.
pub async fn kill(process: &Process) -> Exit {
    let _ = process.kill();
    match tokio::time::timeout(AFTER_KILL, process.wait()).await {
        Ok(exit) => exit,
        Err(_) => {
            tracing::error!(pid = process.pid(), "a killed process does not end: it hangs in the kernel");
            Exit::Unknown
        }
    }
}

/// Ends several processes one after the other, in this order.
pub async fn stop_in_order(processes: impl IntoIterator<Item = (Process, Marker, StopPlan)>) -> Vec<Exit> {
    let mut exits = Vec::new();
    for (process, marker, plan) in processes {
        exits.push(stop(&process, &marker, plan).await);
    }
    exits
}

/// Kills every process the marker covers, and every one left in the session of `leader`, until none is found. Returns
/// how many were killed.
pub async fn sweep(marker: &Marker, leader: Option<&ProcessId>) -> usize {
    let mut killed = HashSet::new();
    for _ in 0..ROUNDS {
        let (scan_marker, scan_leader) = (marker.clone(), leader.cloned());
        let scan = tokio::task::spawn_blocking(move || remains(&scan_marker, scan_leader.as_ref()));
        let found = match scan.await {
            Ok(Ok(found)) => found,
            Ok(Err(error)) => {
                tracing::warn!(%marker, %error, "cannot look for processes that were left behind");
                break;
            }
            // The runtime is shutting down.
            Err(_) => break,
        };
        if found.is_empty() {
            break;
        }
        for id in found {
            // Not through `Process`: one of these may be a child whose status somebody else waits for.
            if kill_stranger(&id).await.is_err() {
                tracing::warn!(%marker, pid = id.pid, "a process that was left behind cannot be killed");
            }
            killed.insert(id);
        }
    }
    killed.len()
}

/// Kills a process and waits until it has ended, without reaping it.
async fn kill_stranger(id: &ProcessId) -> io::Result<()> {
    let Some(pid) = Pid::from_raw(id.pid) else { return Ok(()) };
    let pidfd = match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        other => other?,
    };
    if procfs::stat(id.pid).is_none_or(|s| !id.matches(&s)) {
        return Ok(());
    }
    let pidfd = sys::watch(pidfd, Interest::READABLE)?;
    match rustix::process::pidfd_send_signal(pidfd.get_ref(), Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    let ended = tokio::time::timeout(AFTER_KILL, pidfd.readable()).await;
    ended.map_err(|_| io::ErrorKind::TimedOut)?.map(drop)
}

fn remains(marker: &Marker, leader: Option<&ProcessId>) -> io::Result<Vec<ProcessId>> {
    let found = match leader {
        Some(leader) => marker::find_with_session(marker, leader)?,
        None => marker::find(marker)?,
    };
    Ok(found.into_iter().map(|f| f.id).collect())
}
