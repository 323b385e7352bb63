//! A map that forgets what nobody asked for lately.

use std::{collections::HashMap, hash::Hash, mem, time::Duration};

use tokio::time::Instant;

/// What was not looked up for one to two of these is forgotten. Longer than any
/// resync, so that what belongs to a living object is always looked up in time.
const AGE: Duration = Duration::from_secs(1800);
/// Entries at most, however much comes in a short time.
const CAPACITY: usize = 200_000;

/// Two generations: a lookup moves an entry to the young one, the old one is dropped as a whole.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    turned: Instant,
}

impl<K: Eq + Hash, V> Recent<K, V> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        self.turn();
        self.old.remove(&key);
        self.young.insert(key, value);
    }

    pub(super) fn get(&mut self, key: K) -> Option<&V> {
        self.turn();
        if let Some((key, value)) = self.old.remove_entry(&key) {
            return Some(self.young.entry(key).or_insert(value));
        }
        self.young.get(&key)
    }

    fn turn(&mut self) {
        if self.turned.elapsed() >= AGE || self.young.len() >= CAPACITY / 2 {
            self.old = mem::take(&mut self.young);
            self.turned = Instant::now();
        }
    }
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), old: HashMap::new(), turned: Instant::now() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_stays_and_the_rest_goes() {
        let mut recent = Recent::default();
        recent.insert("used", 1);
        recent.insert("unused", 2);
        for _ in 0..5 {
            tokio::time::advance(AGE).await;
            assert_eq!(recent.get("used"), Some(&1));
        }
        assert_eq!(recent.get("unused"), None);
        assert_eq!(recent.young.len() + recent.old.len(), 1);
    }

    #[test]
    fn memory_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..CAPACITY * 2 {
            recent.insert(number, ());
        }
        assert!(recent.young.len() + recent.old.len() <= CAPACITY);
        assert!(recent.get(CAPACITY * 2 - 1).is_some());
    }
}
