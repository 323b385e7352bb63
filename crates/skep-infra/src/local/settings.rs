//! What local machines need to know before the first one is made.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{network::Network, programs::Programs};
use crate::Result;

/// Settings of an installation of local machines.
#[derive(Clone)]
pub struct Settings {
    /// Directory for records, machines' disks and consoles. One process at a time works with it.
    pub data: PathBuf,
    /// The skep program, which every machine runs a copy of as its first process.
    pub skep: PathBuf,
    /// Network that the machines share; [`Network::pick`] chooses one.
    pub network: Network,
    /// Where the programs of nodes come from.
    pub programs: Arc<dyn Programs>,
    /// Delay and loss between machines of different zones, for tests.
    pub between_zones: Option<ZoneLink>,
    /// Cgroup below which machines have theirs, relative to where each hierarchy is mounted: `skep`, or a subtree that was
    /// delegated.
    pub cgroup: String,
    /// Asked before every effect on the host, for tests; nothing else should set it.
    pub steps: Option<Arc<dyn Steps>>,
}

/// How the way between two zones is worse than the way inside one. In each direction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ZoneLink {
    /// Added to every packet's way.
    pub delay: Duration,
    /// Share of packets that are lost, in per cent.
    pub loss: f32,
}

/// Asked before every single effect on the host. A test that refuses the k-th one stops a call where a process may die.
pub trait Steps: Send + Sync {
    /// Refuses a step by an error, which the call then ends with.
    ///
    /// # Errors
    /// Whatever the test wants.
    fn before(&self, step: &str) -> Result<()>;
}

impl Settings {
    /// Settings with the usual cgroup and nothing between zones.
    pub fn new(data: PathBuf, skep: PathBuf, network: Network, programs: Arc<dyn Programs>) -> Self {
        Self { data, skep, network, programs, between_zones: None, cgroup: "skep".to_owned(), steps: None }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("data", &self.data)
            .field("skep", &self.skep)
            .field("network", &self.network)
            .field("between_zones", &self.between_zones)
            .field("cgroup", &self.cgroup)
            .finish_non_exhaustive()
    }
}
