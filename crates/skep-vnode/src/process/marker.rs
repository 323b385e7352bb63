//! Finding the processes that belong to something, whoever is their parent now.
//!
//! Every process that is started for a purpose carries [`VARIABLE`] in its environment. The value is a path from
//! general to particular, `<instance>/<node>/<pod uid>/<container>/<attempt>`, and is inherited by everything the
//! process starts, daemons that left its session included. A marker finds all values that are equal to it or below
//! it, so the marker of a pod finds all its containers and that of an instance finds everything it ever started.
//!
//! What it cannot find: a process that overwrote its own environment block, and programs whose memory this user may
//! not inspect (set-uid, or without read permission). Set-uid has no effect in our processes; for the others the
//! session of the main process is looked at as well.

use std::fmt;
use std::io;

use super::handle::ProcessId;
use super::procfs;

/// Name of the environment variable.
pub const VARIABLE: &str = "SKEP_CONTAINER";
/// Present in processes that were started beside the main process: probes, hooks, exec.
pub const HELPER_VARIABLE: &str = "SKEP_HELPER";

/// A path that marks processes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Marker(String);

impl Marker {
    /// The marker of an instance (one installation). Characters that would break the path are replaced by `_`.
    pub fn new(instance: &str) -> Self {
        Self(clean(instance))
    }

    /// The marker one level below.
    pub fn join(&self, part: &str) -> Self {
        Self(format!("{}/{}", self.0, clean(part)))
    }

    /// Value of the variable.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `value` is this marker or one below it.
    pub fn covers(&self, value: &str) -> bool {
        value.strip_prefix(self.0.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The path elements of `value` below this marker.
    pub fn below<'a>(&self, value: &'a str) -> Option<Vec<&'a str>> {
        let rest = value.strip_prefix(self.0.as_str())?.strip_prefix('/')?;
        Some(rest.split('/').collect())
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn clean(part: &str) -> String {
    part.chars().map(|c| if c == '/' || c == '\0' || c.is_control() { '_' } else { c }).collect()
}

/// A process that carries a marker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Which process.
    pub id: ProcessId,
    /// Its marker.
    pub marker: String,
    /// Whether it leads its session: main processes do, and so do daemons.
    pub leader: bool,
    /// Whether it was started beside the main process (probe, hook, exec).
    pub helper: bool,
}

/// All living processes the marker covers, oldest first. One pass over `/proc`, blocking; our own process is never in
/// the answer.
pub fn find(marker: &Marker) -> io::Result<Vec<Found>> {
    scan(marker, None)
}

/// Like [`find`], but also what is left in the session of `leader`. Nothing older than the leader is looked at.
pub(super) fn find_with_session(marker: &Marker, leader: &ProcessId) -> io::Result<Vec<Found>> {
    scan(marker, Some(leader).filter(|l| l.boot == procfs::boot_id()))
}

fn scan(marker: &Marker, leader: Option<&ProcessId>) -> io::Result<Vec<Found>> {
    let me = std::process::id();
    // A session's number stays taken while it has members, but once it is empty another process may get it. Then
    // there is a process with that number that is not our leader.
    let session = leader.filter(|l| procfs::stat(l.pid).is_none_or(|s| l.matches(&s))).map(|l| l.pid);
    let mut found = Vec::new();
    for pid in procfs::pids()?.into_iter().filter(|&pid| u32::try_from(pid) != Ok(me)) {
        let Some(stat) = procfs::stat(pid).filter(|s| !s.is_zombie()) else { continue };
        if leader.is_some_and(|l| stat.start_ticks < l.start_ticks) {
            continue;
        }
        let value = procfs::environment_variable(pid, VARIABLE).filter(|v| marker.covers(v));
        if value.is_some() || session == Some(stat.session) {
            found.push(Found {
                id: ProcessId::of(&stat),
                marker: value.unwrap_or_default(),
                leader: stat.session == pid,
                helper: procfs::environment_variable(pid, HELPER_VARIABLE).is_some(),
            });
        }
    }
    found.sort_by_key(|f| f.id.start_ticks);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::Marker;

    #[test]
    fn covers_whole_path_elements_only() {
        let pod = Marker::new("inst").join("node").join("uid-1");
        assert!(pod.covers("inst/node/uid-1"));
        assert!(pod.covers("inst/node/uid-1/web/0"));
        assert!(!pod.covers("inst/node/uid-10/web/0"));
        assert!(!pod.covers("inst/node"));
        assert_eq!(pod.below("inst/node/uid-1/web/0"), Some(vec!["web", "0"]));
        assert_eq!(pod.below("inst/node/uid-1"), None);
        assert_eq!(Marker::new("a/b").as_str(), "a_b");
    }
}
