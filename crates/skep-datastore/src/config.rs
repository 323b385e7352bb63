//! What the operator of a cell decides for all of its datastores.

use std::time::Duration;

use skep_plan::address::PodNetwork;

const DAY: Duration = Duration::from_secs(86_400);

/// Settings of the datastore controller.
#[derive(Debug, Clone)]
pub struct Config {
    /// How members are reached.
    pub network: PodNetwork,
    /// StorageClass of members' disks for datastores that name none; the cell's default when not set.
    pub storage_class: Option<String>,
    /// Life of members' and the operator's own certificates; they are renewed after two thirds of it.
    pub leaf_life: Duration,
    /// Life of the authorities; rotated, with overlap, after two thirds of it.
    pub authority_life: Duration,
    /// How long a new authority is trusted before it signs.
    pub overlap: Duration,
}

impl Config {
    /// The settings for a cell whose pods are reached like this, with a year for certificates and ten for authorities.
    pub fn new(network: PodNetwork) -> Self {
        Self {
            network,
            storage_class: None,
            leaf_life: 365 * DAY,
            authority_life: 3650 * DAY,
            // Kubernetes brings a changed Secret into a pod within two minutes; restarts and people take longer.
            overlap: DAY,
        }
    }
}
