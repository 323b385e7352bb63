//! Which object is reconciled next: pure bookkeeping over given instants.
//!
//! Guarantees: a key is never handed out twice at once; a key added while it
//! runs, or in the rest after that, is handed out once more when the rest is
//! over; a key due later is handed out once, at its time or when it is added,
//! whichever comes first; keys are handed out in the order they became ready.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    hash::Hash,
    time::Duration,
};

use tokio::time::Instant;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Neither waiting nor running; only a due time may be set.
    #[default]
    Idle,
    Queued,
    Running,
    /// Running, and to be handed out again.
    Dirty,
}

#[derive(Clone, Debug, Default)]
struct Entry {
    state: State,
    due: Option<Instant>,
    /// What is added before this instant waits for it.
    rests: Option<Instant>,
}

/// The work queue of one controller.
#[derive(Debug)]
pub(super) struct Queue<T> {
    entries: HashMap<T, Entry>,
    ready: VecDeque<T>,
    due: BTreeSet<(Instant, T)>,
    rest: Duration,
}

impl<T: Clone + Eq + Hash + Ord> Queue<T> {
    /// A queue whose keys rest that long after each run, so that what happens to one meanwhile is seen by one run.
    pub(super) fn new(rest: Duration) -> Self {
        Self { entries: HashMap::new(), ready: VecDeque::new(), due: BTreeSet::new(), rest }
    }

    /// Makes the key ready: now, or when it has rested.
    pub(super) fn add(&mut self, key: T, now: Instant) {
        let entry = self.entries.entry(key.clone()).or_default();
        match (entry.state, entry.rests.filter(|until| *until > now)) {
            (State::Idle, Some(rested)) => {
                let when = entry.due.map_or(rested, |due| due.min(rested));
                self.set_due(key, when);
            }
            _ => self.make_ready(key),
        }
    }

    fn make_ready(&mut self, key: T) {
        self.clear_due(&key);
        let entry = self.entries.entry(key.clone()).or_default();
        match entry.state {
            State::Idle => {
                entry.state = State::Queued;
                self.ready.push_back(key);
            }
            State::Running => entry.state = State::Dirty,
            State::Queued | State::Dirty => {}
        }
    }

    /// Takes the next key that is ready; it runs until [`Queue::done`].
    pub(super) fn next(&mut self, now: Instant) -> Option<T> {
        while let Some((when, key)) = self.due.first() {
            if *when > now {
                break;
            }
            let key = key.clone();
            self.make_ready(key);
        }
        let key = self.ready.pop_front()?;
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.state = State::Running;
        }
        Some(key)
    }

    /// Ends the run of a key; it is ready again after its rest if it was added meanwhile, else at `again`.
    pub(super) fn done(&mut self, key: &T, now: Instant, again: Option<Instant>) {
        let Some(entry) = self.entries.get_mut(key) else { return };
        let rested = now + self.rest;
        let when = match entry.state {
            State::Dirty => Some(rested),
            State::Running => again,
            State::Idle | State::Queued => return,
        };
        match when {
            Some(when) => {
                entry.state = State::Idle;
                entry.rests = Some(rested);
                self.set_due(key.clone(), when);
            }
            None => {
                self.entries.remove(key);
            }
        }
    }

    /// Forgets a key that no longer exists. While it runs, it stays until [`Queue::done`].
    pub(super) fn forget(&mut self, key: &T) {
        self.clear_due(key);
        match self.entries.get(key).map(|entry| entry.state) {
            Some(State::Queued) => {
                self.ready.retain(|waiting| waiting != key);
                self.entries.remove(key);
            }
            Some(State::Idle) => {
                self.entries.remove(key);
            }
            Some(State::Dirty | State::Running) | None => {}
        }
    }

    /// When the next key becomes ready by itself.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.due.first().map(|(when, _)| *when)
    }

    /// Keys that are ready now.
    pub(super) fn waiting(&self) -> usize {
        self.ready.len()
    }

    fn set_due(&mut self, key: T, when: Instant) {
        self.clear_due(&key);
        if let Some(entry) = self.entries.get_mut(&key) {
            entry.due = Some(when);
            self.due.insert((when, key));
        }
    }

    fn clear_due(&mut self, key: &T) {
        if let Some(when) = self.entries.get_mut(key).and_then(|entry| entry.due.take()) {
            self.due.remove(&(when, key.clone()));
        }
    }
}

#[cfg(test)]
mod tests;
