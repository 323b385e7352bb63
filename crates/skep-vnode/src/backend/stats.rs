//! What running containers use.

use std::time::Duration;

use jiff::Timestamp;

use super::PodUid;

/// Use of one container, all its processes together.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerStats {
    /// Its name.
    pub name: String,
    /// When this run of it started.
    pub started_at: Timestamp,
    /// CPU time since then, user and system.
    pub cpu: Duration,
    /// Bytes of memory that would be free if it ended: anonymous and shared memory, not the pages of program files,
    /// which all containers of an image share. From the cgroup when the container has one.
    pub working_set: u64,
    /// Bytes of all pages it has mapped, shared ones counted in full.
    pub rss: u64,
    /// How many processes.
    pub processes: usize,
}

/// Use of one pod.
#[derive(Clone, Debug, PartialEq)]
pub struct PodStats {
    /// Its uid.
    pub uid: PodUid,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When these figures were taken.
    pub taken_at: Timestamp,
    /// Its running containers.
    pub containers: Vec<ContainerStats>,
}
