//! When the answers of an API server that ends are held back. Pure.
//!
//! A kube-apiserver serves on for a while after SIGTERM and then closes every connection that it sees idle. A client that
//! keeps a connection busy sends its next request when it has the answer to the last one, so that request may be on its
//! way at that moment, and a write over HTTP/1.1 must not be repeated. Held from shortly before, answers reach their
//! clients together with the end of the connection: the next request goes to another API server.
//!
//! The moment is counted from when the gateway learns of the deletion, by its own clock: the kubelet learns of it at the
//! same time by the same way, while `deletionTimestamp` has whole seconds of another machine's clock. Only a deletion that
//! may be old news (the pod was never seen without it, or the watch was interrupted) is dated by what the object says.
//! Nothing sends SIGTERM before the deletion was asked for, and the second that is unknown is added to the end. Clocks that
//! differ by more than a second then make it miss the moment, as without all this; they never make it hold longer.

use std::time::{Duration, Instant, SystemTime};

/// Before the server closes: the answers to requests that are on their way arrive, and none follows. Also what the
/// gateway may learn of a deletion later than the kubelet.
const BEFORE: Duration = Duration::from_millis(250);
/// After it: what the kubelet may need to send SIGTERM, and what a server needs to close thousands of connections.
const AFTER: Duration = Duration::from_millis(1_500);
/// Resolution of `deletionTimestamp`, which is rounded down.
const SECOND: Duration = Duration::from_secs(1);
/// No server waits longer than this; whoever says so is not believed.
const LONGEST: Duration = Duration::from_secs(600);

/// What the object of a pod that is being deleted says about its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Seconds since 1970, rounded down, when the deletion was asked for.
    pub asked: i64,
    /// From SIGTERM to the moment the server closes idle connections.
    pub after: Duration,
}

/// How a gateway learnt of a deletion.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight {
    /// When, by the clock that measures.
    pub(crate) at: Instant,
    /// The same moment by the clock that is compared with the object's.
    pub(crate) date: SystemTime,
    /// The pod was there without it just before.
    pub(crate) fresh: bool,
}

/// The time in which answers are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    /// From here on nothing goes to clients.
    pub(crate) from: Instant,
    /// From here on everything does, whatever the server did.
    pub(crate) until: Instant,
}

impl Closing {
    /// From what a pod says: its deletion, the seconds of grace that `deletionTimestamp` is ahead of it, and the
    /// annotation's milliseconds. Nothing if the annotation is no number that can be meant.
    pub(crate) fn parse(deletion: i64, grace: i64, after_ms: &str) -> Option<Self> {
        let after = Duration::from_millis(after_ms.parse().ok()?);
        (after <= LONGEST).then_some(Self { asked: deletion.saturating_sub(grace), after })
    }

    /// When to hold; nothing if that is over.
    pub(crate) fn window(&self, sight: &Sight) -> Option<Window> {
        let age = if sight.fresh { Duration::ZERO } else { self.age(sight.date) };
        // Between the two moments SIGTERM can have been sent at, the earlier one counts for the beginning.
        let unknown = age.min(SECOND);
        let closes = sight.at.checked_add(self.after)?.checked_sub(age)?;
        let window = Window { from: closes.checked_sub(BEFORE)?, until: closes + unknown + AFTER };
        (window.until > sight.at).then_some(window)
    }

    /// How long ago the deletion was asked for, at most. By a clock that is behind: not at all.
    fn age(&self, date: SystemTime) -> Duration {
        let asked = Duration::from_secs(u64::try_from(self.asked).unwrap_or(0));
        date.duration_since(SystemTime::UNIX_EPOCH + asked).unwrap_or_default()
    }
}

impl Window {
    /// Whether answers are held at this moment.
    pub(crate) fn holds(&self, now: Instant) -> bool {
        self.from <= now && now < self.until
    }
}

#[cfg(test)]
mod tests;
