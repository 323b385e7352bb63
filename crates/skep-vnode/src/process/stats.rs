//! What containers use, from one pass over the process table.
//!
//! Every container is a session, so the session of a process says whose it is; what left its session (a daemon) is
//! found only when it ends. A container in a cgroup is measured there instead, more exactly.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;

use super::pod::cell::Running;
use super::procfs;
use crate::backend::ContainerStats;

/// Measures these containers. Blocking.
pub(super) fn measure<K>(containers: Vec<(K, String, Running)>) -> std::io::Result<Vec<(K, ContainerStats)>> {
    let tick =
        Duration::from_secs(1) / u32::try_from(rustix::param::clock_ticks_per_second()).unwrap_or(100).max(1);
    let sessions: HashMap<i32, usize> =
        containers.iter().enumerate().map(|(n, (_, _, running))| (running.process.pid(), n)).collect();
    let mut sums: Vec<Sum> = containers.iter().map(|_| Sum::default()).collect();
    if !containers.is_empty() {
        for stat in procfs::pids()?.into_iter().filter_map(procfs::stat).filter(|s| !s.is_zombie()) {
            let Some(sum) = sessions.get(&stat.session).and_then(|n| sums.get_mut(*n)) else { continue };
            let (working_set, rss) = procfs::memory(stat.pid).unwrap_or_default();
            sum.ticks += stat.cpu_ticks;
            sum.working_set += working_set;
            sum.rss += rss;
            sum.processes += 1;
        }
    }
    let measured = containers.into_iter().zip(sums).map(|((key, name, running), sum)| {
        let usage = running.beside.cgroup.as_ref().and_then(|c| c.usage());
        let ticks = u32::try_from(sum.ticks).unwrap_or(u32::MAX);
        let stats = ContainerStats {
            name,
            started_at: running.since,
            cpu: usage.map_or(tick * ticks, |u| u.cpu),
            working_set: usage.map_or(sum.working_set, |u| u.working_set),
            rss: sum.rss,
            processes: sum.processes,
        };
        (key, stats)
    });
    Ok(measured.collect())
}

#[derive(Default)]
struct Sum {
    ticks: u64,
    working_set: u64,
    rss: u64,
    processes: usize,
}

/// When figures were taken.
pub(super) fn now() -> Timestamp {
    Timestamp::now()
}
