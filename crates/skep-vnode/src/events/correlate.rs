//! Which event is new, which repeats a known one, and which is one too many.

use std::collections::hash_map::RandomState;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher as _;

use jiff::Timestamp;

use super::Record;

/// Events remembered for counting up.
const REMEMBERED: usize = 1024;
/// A flood from one object: so many at once, then one per [`REFILL_SECONDS`] (client-go's spam filter).
const BURST: f64 = 25.0;
const REFILL_SECONDS: f64 = 300.0;

/// What makes two events the same.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Key {
    object: String,
    name: String,
    rest: String,
}

impl Key {
    /// The key of a record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let object = &record.regarding;
        let text = |part: &Option<String>| part.clone().unwrap_or_default();
        Self {
            object: format!("{}/{}", text(&object.kind), text(&object.uid)),
            name: text(&object.name),
            // NUL is in none of them.
            rest: [text(&object.field_path).as_str(), &record.reason, &record.message].join("\0"),
        }
    }
}

/// What to do with an event.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Create an event of this name.
    First {
        /// Its name.
        name: String,
    },
    /// Count this one up.
    Again {
        /// Its name.
        name: String,
        /// How often it has happened now.
        count: i32,
    },
    /// Its object has had too many.
    Drop,
}

struct Known {
    name: String,
    count: i32,
}

struct Bucket {
    tokens: f64,
    filled: Timestamp,
}

/// Memory of what was written, bounded. Events and objects are known by a hash that nobody outside can foresee: the texts
/// would be most of what is remembered.
#[derive(Default)]
pub struct Correlator {
    hasher: RandomState,
    known: HashMap<u64, Known>,
    order: VecDeque<u64>,
    buckets: HashMap<u64, Bucket>,
    serial: u32,
}

impl Correlator {
    /// Judges an event that happens now.
    pub fn judge(&mut self, key: &Key, now: Timestamp) -> Verdict {
        if !self.allowed(&key.object, now) {
            return Verdict::Drop;
        }
        let id = self.hasher.hash_one(key);
        if let Some(known) = self.known.get_mut(&id) {
            known.count = known.count.saturating_add(1);
            return Verdict::Again { name: known.name.clone(), count: known.count };
        }
        self.serial = self.serial.wrapping_add(1);
        let name = event_name(&key.name, now, self.serial);
        if self.order.len() >= REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        self.order.push_back(id);
        self.known.insert(id, Known { name: name.clone(), count: 1 });
        Verdict::First { name }
    }

    /// The event could not be written: the next one like it is a first one again.
    pub fn forget(&mut self, key: &Key) {
        let id = self.hasher.hash_one(key);
        self.known.remove(&id);
        self.order.retain(|known| *known != id);
    }

    fn allowed(&mut self, object: &str, now: Timestamp) -> bool {
        let since = |then: Timestamp| now.duration_since(then).as_secs_f64().max(0.0);
        let id = self.hasher.hash_one(object);
        if self.buckets.len() >= REMEMBERED && !self.buckets.contains_key(&id) {
            // Buckets that are full again remember nothing.
            self.buckets.retain(|_, bucket| bucket.tokens + since(bucket.filled) / REFILL_SECONDS < BURST);
            if self.buckets.len() >= REMEMBERED {
                return false;
            }
        }
        let bucket = self.buckets.entry(id).or_insert(Bucket { tokens: BURST, filled: now });
        bucket.tokens = (bucket.tokens + since(bucket.filled) / REFILL_SECONDS).min(BURST);
        bucket.filled = now;
        let allowed = bucket.tokens >= 1.0;
        if allowed {
            bucket.tokens -= 1.0;
        }
        allowed
    }
}

/// `<object>.<time and serial in hex>`, as client-go names events; object names are at most 253 long, event names too.
fn event_name(object: &str, now: Timestamp, serial: u32) -> String {
    let suffix = format!("{:x}{:04x}", now.as_microsecond(), serial & 0xffff);
    let keep = object.len().min(252 - suffix.len());
    let object = object.get(..keep).unwrap_or_default().trim_end_matches(['.', '-']);
    format!("{object}.{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(object: usize, message: &str) -> Key {
        Key { object: format!("Pod/{object}"), name: "web-0".into(), rest: message.into() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_repeated_event_counts_up() {
        let mut correlator = Correlator::default();
        let Verdict::First { name } = correlator.judge(&key(1, "a"), at(0)) else { panic!() };
        assert_eq!(correlator.judge(&key(1, "a"), at(1)), Verdict::Again { name, count: 2 });
        correlator.forget(&key(1, "a"));
        assert!(matches!(correlator.judge(&key(1, "a"), at(2)), Verdict::First { .. }));
    }

    #[test]
    fn a_flood_is_cut_and_only_its_own() {
        let mut correlator = Correlator::default();
        for n in 0..25 {
            assert_ne!(correlator.judge(&key(1, &n.to_string()), at(0)), Verdict::Drop);
        }
        assert_eq!(correlator.judge(&key(1, "x"), at(0)), Verdict::Drop);
        assert_ne!(correlator.judge(&key(2, "x"), at(0)), Verdict::Drop);
        assert_ne!(correlator.judge(&key(1, "x"), at(301)), Verdict::Drop);
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_names_are_names(
            events in prop::collection::vec((0_usize..5000, "[a-z]{0,3}", 0_i64..100_000), 1..3000)
        ) {
            let mut correlator = Correlator::default();
            for (object, message, time) in events {
                if let Verdict::First { name } = correlator.judge(&key(object, &message), at(time)) {
                    prop_assert!(name.len() <= 253 && name.starts_with("web-0."));
                }
                prop_assert!(correlator.known.len() <= REMEMBERED && correlator.order.len() <= REMEMBERED);
                prop_assert!(correlator.buckets.len() <= REMEMBERED);
            }
        }
    }
}
