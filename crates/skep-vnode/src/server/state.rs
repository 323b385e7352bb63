//! What the handlers of one node work with.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Mutex, Semaphore};
use tokio::time::Instant;

use super::access::Access;
use super::metrics::NodeMetrics;
use crate::backend::{PodBackend, PodStats};
use crate::pods::table::PodTable;

/// Commands, forwarded connections and followed logs of one node at once.
pub const STREAMS: usize = 256;
/// Figures younger than this are given again: a pass over the process table is not free.
const FRESH: Duration = Duration::from_secs(2);

/// Of one node.
pub struct ServerState {
    /// The node's name.
    pub name: Arc<str>,
    /// Its pods.
    pub pods: Arc<PodTable>,
    /// What runs them.
    pub backend: Arc<dyn PodBackend>,
    /// Who may ask.
    pub access: Access,
    /// Counters.
    pub metrics: Arc<NodeMetrics>,
    pub(super) streams: Arc<Semaphore>,
    pub(super) started: Timestamp,
    stats: Mutex<Option<(Instant, Arc<Vec<PodStats>>)>>,
}

impl ServerState {
    /// State of a node that has not answered anything yet.
    #[must_use]
    pub fn new(name: Arc<str>, pods: Arc<PodTable>, backend: Arc<dyn PodBackend>, access: Access) -> Self {
        Self {
            name,
            pods,
            backend,
            access,
            metrics: Arc::default(),
            streams: Arc::new(Semaphore::new(STREAMS)),
            started: Timestamp::now(),
            stats: Mutex::new(None),
        }
    }

    /// What the pods use, at most a few seconds old; one measurement serves all who ask at once.
    pub(super) async fn stats(&self) -> Option<Arc<Vec<PodStats>>> {
        let mut kept = self.stats.lock().await;
        if let Some((taken, stats)) = &*kept
            && taken.elapsed() < FRESH
        {
            return Some(stats.clone());
        }
        match self.backend.stats().await {
            Ok(stats) => {
                let stats = Arc::new(stats);
                self.metrics.count_cpu(&stats);
                *kept = Some((Instant::now(), stats.clone()));
                Some(stats)
            }
            Err(error) => {
                tracing::warn!(node = %self.name, %error, "pod figures could not be read");
                None
            }
        }
    }
}
