//! Which events are written, and when: pure bookkeeping over given instants.

use std::{collections::HashMap, time::Duration};

use tokio::time::Instant;

use super::{Note, QUIET};

/// Series remembered at most; the one not heard of for longest makes room.
const CAPACITY: usize = 1024;
/// A series ends when nothing was heard of it for this long (client-go: 6 min).
const ENDS: Duration = Duration::from_secs(360);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Same {
    severity: super::Severity,
    reason: &'static str,
    action: &'static str,
    message: String,
    uid: Option<String>,
    kind: Option<String>,
    namespace: Option<String>,
    name: Option<String>,
}

#[derive(Debug)]
pub(super) struct Series {
    /// Name of the event on the server.
    pub(super) event: Option<String>,
    /// Times seen in all.
    pub(super) count: i32,
    written: i32,
    heard: Instant,
    quiet_until: Instant,
}

/// What to do with a note.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Write {
    /// The first of its kind: create it.
    First,
    /// A repetition after a quiet time: update the count.
    Again(i32),
    /// A repetition too soon: it is only counted.
    Later,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    series: HashMap<Same, Series>,
}

fn same(note: &Note) -> Same {
    Same {
        severity: note.severity,
        reason: note.reason,
        action: note.action,
        message: note.message.clone(),
        uid: note.about.uid.clone(),
        kind: note.about.kind.clone(),
        namespace: note.about.namespace.clone(),
        name: note.about.name.clone(),
    }
}

impl Ledger {
    pub(super) fn hear(&mut self, note: &Note, now: Instant) -> Write {
        let key = same(note);
        if let Some(series) = self.series.get_mut(&key)
            && now.saturating_duration_since(series.heard) < ENDS
        {
            series.count = series.count.saturating_add(1);
            series.heard = now;
            if now < series.quiet_until {
                return Write::Later;
            }
            series.quiet_until = now + QUIET;
            series.written = series.count;
            return if series.event.is_some() { Write::Again(series.count) } else { Write::First };
        }
        if self.series.len() >= CAPACITY {
            self.make_room(now);
        }
        let series = Series { event: None, count: 1, written: 1, heard: now, quiet_until: now + QUIET };
        self.series.insert(key, series);
        Write::First
    }

    /// Remembers the name that the event has on the server, or that it could not be written (`None`).
    pub(super) fn stored(&mut self, note: &Note, event: Option<String>) {
        if let Some(series) = self.series.get_mut(&same(note)) {
            series.event = event;
        }
    }

    pub(super) fn event(&self, note: &Note) -> Option<&str> {
        self.series.get(&same(note)).and_then(|series| series.event.as_deref())
    }

    fn make_room(&mut self, now: Instant) {
        self.series.retain(|_, series| now.saturating_duration_since(series.heard) < ENDS);
        if self.series.len() >= CAPACITY
            && let Some(oldest) = self.series.iter().min_by_key(|(_, s)| s.heard).map(|(k, _)| k.clone())
        {
            self.series.remove(&oldest);
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.series.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Severity;
    use k8s_openapi::api::core::v1::ObjectReference;

    fn note(name: &str, message: &str) -> Note {
        Note {
            severity: Severity::Warning,
            reason: "R",
            action: "A",
            message: message.into(),
            about: ObjectReference { name: Some(name.into()), ..ObjectReference::default() },
        }
    }

    #[test]
    fn repetitions_are_counted_and_written_after_a_quiet_time() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let note = note("a", "m");
        assert_eq!(ledger.hear(&note, start), Write::First);
        ledger.stored(&note, Some("event".into()));
        for second in 1..59 {
            assert_eq!(ledger.hear(&note, start + Duration::from_secs(second)), Write::Later);
        }
        assert_eq!(ledger.hear(&note, start + Duration::from_secs(60)), Write::Again(60));
        assert_eq!(ledger.hear(&note, start + Duration::from_secs(61)), Write::Later);
    }

    #[test]
    fn another_message_or_object_is_another_event() {
        let mut ledger = Ledger::default();
        let now = Instant::now();
        assert_eq!(ledger.hear(&note("a", "m"), now), Write::First);
        assert_eq!(ledger.hear(&note("b", "m"), now), Write::First);
        assert_eq!(ledger.hear(&note("a", "n"), now), Write::First);
    }

    #[test]
    fn a_series_ends_and_what_was_never_written_is_tried_again() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        let note = note("a", "m");
        ledger.hear(&note, start);
        ledger.stored(&note, None);
        assert_eq!(ledger.hear(&note, start + QUIET), Write::First, "the server refused the first");
        ledger.stored(&note, Some("event".into()));
        assert_eq!(ledger.hear(&note, start + QUIET + ENDS), Write::First, "a new series");
    }

    #[test]
    fn memory_is_bounded() {
        let mut ledger = Ledger::default();
        let start = Instant::now();
        for number in 0..CAPACITY + 100 {
            ledger.hear(&note(&number.to_string(), "m"), start + Duration::from_millis(number as u64));
        }
        assert_eq!(ledger.len(), CAPACITY);
        // The oldest made room.
        assert_eq!(ledger.hear(&note("99", "m"), start + Duration::from_secs(2)), Write::First);
        assert_eq!(ledger.hear(&note("1100", "m"), start + Duration::from_secs(2)), Write::Later);
    }
}
