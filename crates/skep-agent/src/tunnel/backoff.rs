//! Pauses between tries: growing, bounded, and not the same for all nodes of a cluster.

use std::time::Duration;

use rand::Rng as _;

/// First pause: a gateway that was replaced is there again soon.
const FIRST: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(15);

/// The pauses of one row of failures.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    last: Duration,
}

impl Backoff {
    /// The next pause: twice the last, less up to a half by chance, so that nodes that lost their gateway together do not
    /// come back together.
    pub(super) fn next(&mut self) -> Duration {
        self.last = (self.last * 2).clamp(FIRST, LONGEST);
        self.last.mul_f64(rand::rng().random_range(0.5..=1.0))
    }

    /// It worked: the next failure is the first of another row.
    pub(super) fn reset(&mut self) {
        self.last = Duration::ZERO;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_begin_again() {
        let mut backoff = Backoff::default();
        let mut expected = FIRST;
        for _ in 0..40 {
            let pause = backoff.next();
            assert!(pause <= expected && pause >= expected / 2, "{pause:?} of {expected:?}");
            expected = (expected * 2).min(LONGEST);
        }
        backoff.reset();
        assert!(backoff.next() <= FIRST);
    }
}
