//! How many control planes start at the same time.
//!
//! A start is seconds of CPU. Started all at once, many of them are all late, and dearer: what looks again every so often
//! looks more often. A few at a time, the first are there while the last have not begun.
//!
//! Kept in memory: whoever was started by an earlier process has its programs and needs no place.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use skep_kubeops::{Key, Trigger};

/// How long a place is kept for one that does not come up: it would keep others from starting.
const LONGEST: Duration = Duration::from_secs(60);
/// Pause before one that waits asks again by itself. Nearly always it is called before that.
pub(crate) const ASK_AGAIN: Duration = Duration::from_secs(5);

/// The places.
#[derive(Debug)]
pub(crate) struct Starts {
    most: usize,
    places: Mutex<Places>,
    /// Who waits is called through it.
    trigger: Trigger,
}

#[derive(Debug, Default)]
struct Places {
    taken: HashMap<Key, Instant>,
    /// First come, first called; nobody is in it twice.
    waiting: VecDeque<Key>,
}

impl Starts {
    /// `most` places.
    pub(crate) fn new(most: usize, trigger: Trigger) -> Self {
        Self { most: most.max(1), places: Mutex::default(), trigger }
    }

    /// A place for this control plane, which it keeps until [`Starts::leave`] or for a minute.
    ///
    /// # Errors
    /// There is none; how many others are starting. It will be called.
    pub(crate) fn enter(&self, key: &Key, now: Instant) -> Result<(), usize> {
        let mut places = self.lock();
        places.taken.retain(|_, since| now.duration_since(*since) < LONGEST);
        if !places.taken.contains_key(key) && places.taken.len() >= self.most {
            if !places.waiting.contains(key) {
                places.waiting.push_back(key.clone());
            }
            return Err(places.taken.len());
        }
        places.waiting.retain(|waiting| waiting != key);
        places.taken.entry(key.clone()).or_insert(now);
        Ok(())
    }

    /// This control plane is up, or gone. Whoever has waited longest is called.
    pub(crate) fn leave(&self, key: &Key) {
        let mut places = self.lock();
        places.waiting.retain(|waiting| waiting != key);
        if places.taken.remove(key).is_some()
            && let Some(next) = places.waiting.pop_front()
        {
            self.trigger.one(next);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Key::namespaced("n", format!("{number}"))
    }

    #[test]
    fn places_are_given_in_turn_and_to_each_once() {
        let (starts, now) = (Starts::new(2, Trigger::new()), Instant::now());
        let enter = |number| starts.enter(&key(number), now);
        assert_eq!([0, 0, 1].map(enter), [Ok(()); 3]);
        assert_eq!([2, 3, 2].map(enter), [Err(2); 3]);
        assert_eq!(starts.lock().waiting, [key(2), key(3)]);
        starts.leave(&key(0));
        assert_eq!(starts.lock().waiting, [key(3)], "the other has been called");
        assert_eq!(enter(2), Ok(()));
        // Gone while it waited.
        starts.leave(&key(3));
        assert!(starts.lock().waiting.is_empty());
    }

    #[test]
    fn one_that_does_not_come_up_does_not_keep_others_from_starting() {
        let (starts, now) = (Starts::new(1, Trigger::new()), Instant::now());
        assert_eq!(starts.enter(&key(0), now), Ok(()));
        // Asking again does not make it longer.
        assert_eq!(starts.enter(&key(0), now + LONGEST / 2), Ok(()));
        assert_eq!(starts.enter(&key(1), now + LONGEST / 2), Err(1));
        assert_eq!(starts.enter(&key(1), now + LONGEST), Ok(()));
    }
}
