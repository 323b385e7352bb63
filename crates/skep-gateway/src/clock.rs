//! Moments as numbers, for atomics: milliseconds since the process first asked.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The moment this long after now; never 0.
pub(crate) fn after(time: Duration) -> u64 {
    u64::try_from((EPOCH.elapsed() + time).as_millis()).unwrap_or(u64::MAX).max(1)
}

/// Whether a moment is still to come; 0 never is.
pub(crate) fn is_ahead(moment: u64) -> bool {
    moment > 0 && u128::from(moment) > EPOCH.elapsed().as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_pass() {
        assert!(is_ahead(after(Duration::from_secs(60))));
        assert!(!is_ahead(0));
    }
}
