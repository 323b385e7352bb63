//! New connections per second of one source, in constant memory.
//!
//! Sources share a fixed table by a keyed hash: two may meet in one slot and then share an allowance, but no number of
//! sources makes it grow, and nobody can choose whom to meet. Each slot is one number, the "theoretical arrival time" of
//! the generic cell rate algorithm (ITU-T I.371), so that a decision is one atomic update.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Slots: 128 KiB, and below one chance in a hundred to meet one of 150 busy sources.
const SLOTS: usize = 1 << 14;

/// Allowances of all sources.
#[derive(Debug)]
pub struct SourceRate {
    slots: Box<[AtomicU64]>,
    hasher: RandomState,
    start: Instant,
    /// Nanoseconds one connection costs.
    cost: u64,
    /// Nanoseconds a source may be ahead.
    credit: u64,
}

impl SourceRate {
    /// Allows `per_second` connections and `burst` at once; nothing if `per_second` is 0, which means no limit.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
        let cost = 1_000_000_000u64.checked_div(per_second.into())?;
        let slots = (0..SLOTS).map(|_| AtomicU64::new(0)).collect();
        let credit = cost * u64::from(burst.saturating_sub(1));
        Some(Self { slots, hasher: RandomState::new(), start: Instant::now(), cost, credit })
    }

    /// Whether this source may open a connection now; if so it is counted.
    pub fn allow(&self, source: IpAddr) -> bool {
        self.allow_after(source, self.start.elapsed())
    }

    fn allow_after(&self, source: IpAddr, since_start: Duration) -> bool {
        let now = u64::try_from(since_start.as_nanos()).unwrap_or(u64::MAX);
        let index = usize::try_from(self.hasher.hash_one(prefix(source))).unwrap_or(0) % SLOTS;
        let Some(slot) = self.slots.get(index) else { return true };
        slot.try_update(Ordering::Relaxed, Ordering::Relaxed, |due| {
            let due = due.max(now);
            (due - now <= self.credit).then_some(due.saturating_add(self.cost))
        })
        .is_ok()
    }
}

/// What counts as one source: an IPv4 address, or the /64 that one IPv6 host usually has for itself.
fn prefix(source: IpAddr) -> u64 {
    match source.to_canonical() {
        IpAddr::V4(ip) => u64::from(u32::from(ip)),
        IpAddr::V6(ip) => u64::try_from(u128::from(ip) >> 64).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn zero_is_no_limit() {
        assert!(SourceRate::new(0, 10).is_none());
    }

    #[test]
    fn a_burst_then_the_rate() {
        let rate = SourceRate::new(10, 3).unwrap();
        let at = |ms| rate.allow_after(HERE, Duration::from_millis(ms));
        assert_eq!([at(0), at(0), at(0), at(0)], [true, true, true, false]);
        assert_eq!([at(99), at(100), at(100)], [false, true, false]);
        assert_eq!([at(9_000), at(9_000), at(9_000), at(9_000)], [true, true, true, false]);
    }

    #[test]
    fn neighbours_in_one_ipv6_network_are_one_source() {
        let ip = |text: &str| prefix(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::ffff:1"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:10.0.0.1"), ip("10.0.0.1"));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(
            per_second in 1u32..1_000, burst in 1u32..50, mut times in prop::collection::vec(0u64..3_000, 1..400),
        ) {
            times.sort_unstable();
            let rate = SourceRate::new(per_second, burst).unwrap();
            let allowed =
                times.iter().filter(|&&ms| rate.allow_after(HERE, Duration::from_millis(ms))).count() as u64;
            let span = times[times.len() - 1] - times[0];
            prop_assert!(allowed <= u64::from(burst) + span * u64::from(per_second) / 1_000 + 1);
            prop_assert!(allowed >= 1);
        }
    }
}
