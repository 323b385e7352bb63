//! The life of a certificate and when it is to be renewed: pure arithmetic.

use std::time::Duration;

use jiff::Timestamp;

/// Certificates begin this long before they are issued, so that a verifier whose clock is late accepts them.
pub const BACKDATE: Duration = Duration::from_secs(300);

/// From when to when a certificate is valid, both inclusive, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// First moment of validity.
    pub not_before: Timestamp,
    /// Last moment of validity.
    pub not_after: Timestamp,
}

impl Validity {
    /// The validity of a certificate issued at `now` for `life`: backdated, and cut at `limit` (the end of the
    /// authority) because a leaf that outlives its authority cannot be verified anyway.
    pub(crate) fn starting(now: Timestamp, life: Duration, limit: Option<Timestamp>) -> Self {
        let from = now.as_second();
        let end = from.saturating_add(i64::try_from(life.as_secs()).unwrap_or(i64::MAX));
        let end = limit.map_or(end, |l| end.min(l.as_second()));
        Validity { not_before: at(from - BACKDATE.as_secs() as i64), not_after: at(end) }
    }

    /// Is `now` within the validity?
    pub fn contains(&self, now: Timestamp) -> bool {
        self.not_before <= now && now <= self.not_after
    }

    /// Length of the life in seconds, never negative.
    pub fn seconds(&self) -> i64 {
        (self.not_after.as_second() - self.not_before.as_second()).max(0)
    }

    /// The moment from which a renewal is due: two thirds of the life, or up to a twelfth of the life earlier.
    /// `spread` (0 = none, 255 = a twelfth) is taken from the certificate's random serial number, so that
    /// thousands of certificates issued in one minute are not renewed in one minute.
    pub fn renewal(&self, spread: u8) -> Timestamp {
        let life = self.seconds();
        let offset = life * 2 / 3 - life / 12 * i64::from(spread) / 255;
        // Of a very short life the backdated part is most: count a third of what is left after it, so that a
        // certificate is never due in the moment it is issued.
        let backdate = BACKDATE.as_secs() as i64;
        let floor = backdate + (life - backdate).max(0) / 3;
        at(self.not_before.as_second() + offset.max(floor.min(life)))
    }

    /// Is a renewal due at `now`? Also true outside the validity: a certificate of the future is one that was
    /// issued by a clock since corrected.
    pub fn renewal_due(&self, spread: u8, now: Timestamp) -> bool {
        now >= self.renewal(spread) || !self.contains(now)
    }
}

/// A timestamp from seconds, held within what a timestamp can express.
pub(crate) fn at(second: i64) -> Timestamp {
    let bounded = second.clamp(Timestamp::MIN.as_second(), Timestamp::MAX.as_second());
    Timestamp::from_second(bounded).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn renewal_lies_between_seven_twelfths_and_two_thirds(start in 0i64..4_000_000_000, life in 1i64..1_000_000_000, spread: u8) {
            let v = Validity { not_before: at(start), not_after: at(start + life) };
            let r = v.renewal(spread).as_second() - start;
            prop_assert!(r <= (life * 2 / 3).max(300.min(life) + (life - 300).max(0) / 3));
            prop_assert!(r >= life * 7 / 12 - 1);
        }

        #[test]
        fn due_is_monotonic_inside_the_life(start in 0i64..4_000_000_000, life in 1i64..1_000_000_000, spread: u8, a: u32, b: u32) {
            let v = Validity { not_before: at(start), not_after: at(start + life) };
            let (a, b) = (start + i64::from(a) % life, start + i64::from(b) % life);
            let (early, late) = (a.min(b), a.max(b));
            prop_assert!(!v.renewal_due(spread, at(early)) || v.renewal_due(spread, at(late)));
        }

        #[test]
        fn never_due_when_issued(now in 0i64..4_000_000_000, life in 3u64..1_000_000_000, spread: u8) {
            let v = Validity::starting(at(now), Duration::from_secs(life), None);
            prop_assert!(!v.renewal_due(spread, at(now)));
            prop_assert!(v.renewal(spread) < v.not_after);
        }

        #[test]
        fn never_longer_than_the_authority(now in 0i64..4_000_000_000, life in 0u64..u64::MAX, limit in 0i64..5_000_000_000) {
            let v = Validity::starting(at(now), Duration::from_secs(life), Some(at(limit)));
            prop_assert!(v.not_after <= at(limit));
            prop_assert_eq!(v.not_before, at(now - 300));
        }
    }

    #[test]
    fn outside_the_life_is_always_due() {
        let v = Validity { not_before: at(1000), not_after: at(4000) };
        assert!(v.renewal_due(0, at(999)));
        assert!(!v.renewal_due(0, at(1000)));
        assert!(!v.renewal_due(0, at(2999)));
        assert!(v.renewal_due(0, at(3000)));
        assert!(v.renewal_due(0, at(4001)));
    }
}
