//! How long to wait after a failure: per object, growing, with jitter, forgotten on success.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// First pause after a failure.
pub const FIRST: Duration = Duration::from_secs(1);
/// Longest pause.
pub const LONGEST: Duration = Duration::from_secs(300);
/// Keys remembered at most; beyond it new failures start at the first pause again.
const CAPACITY: usize = 65_536;

/// Doubling delays between two bounds, with jitter.
#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    failures: u32,
}

impl Backoff {
    /// Delays from `first`, doubling, to `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, failures: 0 }
    }

    /// The pause after one more failure: ±20 % around `first × 2ⁿ`, never above `longest`.
    pub fn next_delay(&mut self) -> Duration {
        let doubled = self.first.saturating_mul(1_u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = (self.failures + 1).min(31);
        jittered(doubled.min(self.longest)).min(self.longest)
    }

    /// After a success.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// Failures since the last success (counted up to 31).
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

impl Default for Backoff {
    /// 1 s to 5 min.
    fn default() -> Self {
        Self::new(FIRST, LONGEST)
    }
}

/// `±20 %` around a duration, so that things that failed together do not return together.
pub fn jittered(duration: Duration) -> Duration {
    duration.mul_f64(rand::random_range(0.8..=1.2))
}

/// One [`Backoff`] per key; only keys that are failing cost memory.
#[derive(Debug)]
pub struct Backoffs<T> {
    failing: HashMap<T, Backoff>,
    template: Backoff,
}

impl<T: Eq + Hash + Clone> Backoffs<T> {
    /// Every key starts as a copy of `template`.
    pub fn new(template: Backoff) -> Self {
        Self { failing: HashMap::new(), template }
    }

    /// Counts a failure of `key` and says how long to wait.
    pub fn failed(&mut self, key: &T) -> Duration {
        if let Some(backoff) = self.failing.get_mut(key) {
            return backoff.next_delay();
        }
        let mut backoff = self.template;
        let delay = backoff.next_delay();
        if self.failing.len() < CAPACITY {
            self.failing.insert(key.clone(), backoff);
        }
        delay
    }

    /// Forgets the failures of `key`: it succeeded, or is gone.
    pub fn forget(&mut self, key: &T) {
        self.failing.remove(key);
    }

    /// How many keys are failing now.
    pub fn len(&self) -> usize {
        self.failing.len()
    }

    /// `true` if nothing is failing.
    pub fn is_empty(&self) -> bool {
        self.failing.is_empty()
    }
}

impl<T: Eq + Hash + Clone> Default for Backoffs<T> {
    fn default() -> Self {
        Self::new(Backoff::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn delays_grow_and_stay_in_bounds(first_ms in 1_u64..2_000, factor in 1_u32..500, steps in 1_usize..80) {
            let first = Duration::from_millis(first_ms);
            let longest = first * factor;
            let mut backoff = Backoff::new(first, longest);
            for step in 0..steps {
                let delay = backoff.next_delay();
                let ideal = first.saturating_mul(1_u32.checked_shl(step as u32).unwrap_or(u32::MAX)).min(longest);
                prop_assert!(delay <= longest);
                prop_assert!(delay >= ideal.mul_f64(0.79), "step {step}: {delay:?} < {ideal:?}");
            }
            backoff.reset();
            prop_assert!(backoff.next_delay() <= first.mul_f64(1.21));
        }
    }

    #[test]
    fn keys_are_independent_and_forgotten_on_success() {
        let mut backoffs = Backoffs::default();
        for _ in 0..6 {
            backoffs.failed(&"a");
        }
        assert!(backoffs.failed(&"a") > Duration::from_secs(40));
        assert!(backoffs.failed(&"b") < Duration::from_secs(2));
        backoffs.forget(&"a");
        assert_eq!(backoffs.len(), 1);
        assert!(backoffs.failed(&"a") < Duration::from_secs(2));
    }

    #[test]
    fn memory_is_bounded() {
        let mut backoffs = Backoffs::default();
        for key in 0..CAPACITY + 10 {
            backoffs.failed(&key);
        }
        assert_eq!(backoffs.len(), CAPACITY);
    }
}
