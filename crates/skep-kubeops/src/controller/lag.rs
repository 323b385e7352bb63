//! Objects whose watch has not shown yet what was written of them. A pass on how they were would decide once more what is
//! decided, and write it. (What Kubernetes' own controllers do about it: KEP-5647, stale controller handling.)

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use crate::Key;

/// How long a watch is waited for. One that is further behind is broken, and a pass on old data is better than none.
const LONGEST: Duration = Duration::from_secs(5);

/// What waits for its watch.
#[derive(Debug, Default)]
pub(super) struct Lag {
    until: HashMap<Key, Instant>,
}

impl Lag {
    /// Until when a key waits whose object is behind or is not; `None` when it need not.
    pub(super) fn wait(&mut self, key: &Key, behind: bool, now: Instant) -> Option<Instant> {
        if behind {
            let until = *self.until.entry(key.clone()).or_insert(now + LONGEST);
            if until > now {
                return Some(until);
            }
        }
        self.forget(key);
        None
    }

    /// Whether a key waits.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.until.contains_key(key)
    }

    pub(super) fn forget(&mut self, key: &Key) {
        self.until.remove(key);
    }
}
