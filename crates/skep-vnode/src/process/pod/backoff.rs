//! Back-off between runs of a container: none before the first restart, then 10 s, 20 s … 5 min; forgotten after a
//! long good run. Pure.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::process::config::Timings;

/// State of the back-off of one container. Survives the node in the container's record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Backoff {
    delay_ms: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    updated: Option<Timestamp>,
}

impl Backoff {
    /// When a run that ended at `ended` may be repeated, if not at once.
    pub(super) fn until(&self, ended: Timestamp, timings: &Timings) -> Option<Timestamp> {
        self.updated.filter(|u| !is_over(*u, ended, timings))?;
        let delay = SignedDuration::from_millis(i64::try_from(self.delay_ms).unwrap_or(i64::MAX));
        ended.checked_add(delay).ok()
    }

    /// The delay as the kubelet prints it: `10s`, `2m40s`.
    pub(super) fn text(&self) -> String {
        let seconds = self.delay_ms / 1000;
        match (seconds / 60, seconds % 60) {
            (0, 0) => format!("{}ms", self.delay_ms),
            (0, s) => format!("{s}s"),
            (m, s) => format!("{m}m{s}s"),
        }
    }

    /// Another run begins after one that ended at `ended`.
    pub(super) fn advance(&mut self, ended: Timestamp, now: Timestamp, timings: &Timings) {
        let again = self.updated.is_some_and(|u| !is_over(u, ended, timings));
        let delay =
            if again { self.delay().saturating_mul(2).min(timings.backoff_longest) } else { timings.backoff };
        self.delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.updated = Some(now);
    }

    fn delay(self) -> Duration {
        Duration::from_millis(self.delay_ms)
    }
}

fn is_over(updated: Timestamp, ended: Timestamp, timings: &Timings) -> bool {
    ended.duration_since(updated)
        > SignedDuration::try_from(timings.backoff_forget).unwrap_or(SignedDuration::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_like_the_kubelets_and_is_forgotten() {
        let timings = Timings::default();
        let mut backoff = Backoff::default();
        let mut now: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let mut waits = Vec::new();
        for _ in 0..8 {
            // Ends at once, every time.
            let ended = now;
            let until = backoff.until(ended, &timings).unwrap_or(ended);
            waits.push(until.duration_since(ended).as_secs());
            now = until;
            backoff.advance(ended, now, &timings);
        }
        assert_eq!(waits, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(backoff.text(), "5m0s");
        let much_later = now + SignedDuration::from_secs(601);
        assert_eq!(backoff.until(much_later, &timings), None);
        backoff.advance(much_later, much_later, &timings);
        assert_eq!(backoff.text(), "10s");
    }
}
