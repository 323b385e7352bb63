//! Since when the nodes of tenants are watched without a gap.
//!
//! A node that is not ready says nothing while nobody can see it become ready: what repair and updates judge counts from
//! here. Held in memory only, so that a new process has to look for as long as any other before it judges.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::jiff::Timestamp;
use skep_kubeops::Key;

/// Since when, by cluster. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Watched {
    since: Arc<Mutex<HashMap<Key, Timestamp>>>,
}

impl Watched {
    /// Since when all nodes of this cluster are known; `None` while they are not.
    pub fn since(&self, cluster: &Key) -> Option<Timestamp> {
        self.change(|since| since.get(cluster).copied())
    }

    /// A first list has come.
    pub(crate) fn begin(&self, cluster: &Key, now: Timestamp) {
        self.change(|since| {
            since.entry(cluster.clone()).or_insert(now);
        });
    }

    /// The API server could not be reached just now. What was seen before counts no more; the watch tries on, and each
    /// failure comes here again.
    pub(crate) fn interrupt(&self, cluster: &Key, now: Timestamp) {
        self.change(|since| {
            since.entry(cluster.clone()).and_modify(|since| *since = now);
        });
    }

    /// Nobody looks any more.
    pub(crate) fn end(&self, cluster: &Key) {
        self.change(|since| since.remove(cluster));
    }

    fn change<T>(&self, change: impl FnOnce(&mut HashMap<Key, Timestamp>) -> T) -> T {
        change(&mut self.since.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_begins_the_time_anew() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let (watched, cluster) = (Watched::default(), Key::namespaced("n", "c"));
        watched.interrupt(&cluster, at(0));
        assert_eq!(watched.since(&cluster), None, "nothing was listed yet");
        watched.begin(&cluster, at(1));
        watched.begin(&cluster, at(5));
        assert_eq!(watched.since(&cluster), Some(at(1)));
        watched.interrupt(&cluster, at(9));
        assert_eq!(watched.since(&cluster), Some(at(9)));
        watched.end(&cluster);
        assert_eq!(watched.since(&cluster), None);
    }
}
