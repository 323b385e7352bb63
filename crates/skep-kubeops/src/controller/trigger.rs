//! Reconciles asked for by something that is not a watch.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

use super::Targets;
use crate::Key;

/// Distinct keys remembered before "all of them" is cheaper to say.
const CAPACITY: usize = 4096;

/// Asks a controller to look at objects now. Cheap to clone; never blocks.
///
/// Requests for the same object before it is looked at become one.
#[derive(Clone, Debug, Default)]
pub struct Trigger {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    pending: Mutex<Pending>,
    notify: Notify,
}

#[derive(Debug, Default)]
struct Pending {
    all: bool,
    keys: HashSet<Key>,
}

impl Trigger {
    /// A trigger; give it to one controller with `Controller::triggered_by`.
    pub fn new() -> Self {
        Self::default()
    }

    /// Look at this object.
    pub fn one(&self, key: Key) {
        self.change(|pending| {
            if pending.keys.len() < CAPACITY {
                pending.keys.insert(key);
            } else {
                pending.all = true;
            }
        });
    }

    /// Look at every object.
    pub fn all(&self) {
        self.change(|pending| pending.all = true);
    }

    fn change(&self, change: impl FnOnce(&mut Pending)) {
        change(&mut self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner));
        self.inner.notify.notify_one();
    }

    pub(super) async fn wait(&self) -> Targets {
        loop {
            let notified = self.inner.notify.notified();
            let taken =
                std::mem::take(&mut *self.inner.pending.lock().unwrap_or_else(PoisonError::into_inner));
            if taken.all {
                return Targets::All;
            }
            if !taken.keys.is_empty() {
                return Targets::Many(taken.keys.into_iter().collect());
            }
            notified.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_become_one_and_are_never_lost() {
        let trigger = Trigger::new();
        trigger.one(Key::cluster("a"));
        trigger.one(Key::cluster("a"));
        assert_eq!(trigger.wait().await, Targets::Many(vec![Key::cluster("a")]));
        // One that comes while nobody waits is there for the next wait.
        trigger.all();
        trigger.one(Key::cluster("b"));
        assert_eq!(trigger.wait().await, Targets::All);
        let waiting = tokio::spawn({
            let trigger = trigger.clone();
            async move { trigger.wait().await }
        });
        tokio::task::yield_now().await;
        trigger.one(Key::cluster("c"));
        assert_eq!(waiting.await.unwrap(), Targets::Many(vec![Key::cluster("c")]));
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let trigger = Trigger::new();
        for number in 0..=CAPACITY {
            trigger.one(Key::cluster(number.to_string()));
        }
        assert_eq!(trigger.wait().await, Targets::All);
    }
}
