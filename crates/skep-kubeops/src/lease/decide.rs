//! Who may hold the lease: a pure function.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

/// Clocks of two machines are assumed to differ by less than this.
const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// What is known about the present holder, by our own clock.
#[derive(Clone, Debug, PartialEq)]
pub struct Sighting {
    /// Holder, renewal time and number of changes as last read.
    pub spec: LeaseSpec,
    /// When this very content was first seen here. A holder that renews changes the content.
    pub since: Instant,
}

impl Sighting {
    /// The sighting after reading `spec` at `now`: the old one if nothing was renewed.
    pub fn update(previous: Option<Self>, spec: LeaseSpec, now: Instant) -> Self {
        match previous {
            Some(previous) if previous.spec == spec => previous,
            _ => Self { spec, since: now },
        }
    }
}

/// What to do about the lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Ours: write a new renewal time.
    Renew,
    /// Free, given back, or expired: take it.
    Acquire,
    /// Somebody else's, at least until this instant unless it changes.
    Wait(Instant),
}

/// Decides for `me` at `now` (our monotonic clock) and `wall` (our wall clock).
///
/// Expiry is judged by how long the content has stood still before our own eyes, so that a
/// holder's wrong clock cannot take its lease away. Only if the renewal time is older than
/// duration plus 60 s, more than clocks may differ, the wall clock decides alone.
pub fn evaluate(sighting: Option<&Sighting>, me: &str, now: Instant, wall: Timestamp) -> Decision {
    let Some(Sighting { spec, since }) = sighting else { return Decision::Acquire };
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() {
        return Decision::Acquire;
    }
    if holder == me {
        return Decision::Renew;
    }
    // A lease without a duration or renewal was written by hand; treat it as the shortest.
    let duration =
        Duration::from_secs(u64::try_from(spec.lease_duration_seconds.unwrap_or(1)).unwrap_or(1).max(1));
    let long_dead = spec.renew_time.as_ref().is_some_and(|renewed| {
        let age = wall.duration_since(renewed.0);
        Duration::try_from(age).is_ok_and(|age| age > duration + CLOCK_SKEW)
    });
    let expires = *since + duration;
    if long_dead || expires <= now { Decision::Acquire } else { Decision::Wait(expires) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
    use proptest::prelude::*;

    fn spec(holder: &str, renewed: Timestamp) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.into()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(renewed)),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn free_and_own_leases_are_taken_at_once() {
        let (now, wall) = (Instant::now(), Timestamp::now());
        assert_eq!(evaluate(None, "me", now, wall), Decision::Acquire);
        let sighting = |holder| Sighting { spec: spec(holder, wall), since: now };
        assert_eq!(evaluate(Some(&sighting("")), "me", now, wall), Decision::Acquire);
        assert_eq!(evaluate(Some(&sighting("me")), "me", now, wall), Decision::Renew);
        assert_eq!(
            evaluate(Some(&sighting("other")), "me", now, wall),
            Decision::Wait(now + Duration::from_secs(15))
        );
    }

    #[test]
    fn a_long_dead_holder_is_not_waited_for() {
        let (now, wall) = (Instant::now(), Timestamp::now());
        let renewed = |age: i64| spec("other", wall - SignedDuration::from_secs(age));
        let decide = |age| evaluate(Some(&Sighting { spec: renewed(age), since: now }), "me", now, wall);
        assert_eq!(decide(76), Decision::Acquire);
        assert!(matches!(decide(74), Decision::Wait(_)), "clocks may differ by a minute");
    }

    #[test]
    fn a_renewal_starts_the_wait_again() {
        let (start, wall) = (Instant::now(), Timestamp::now());
        let first = Sighting::update(None, spec("other", wall), start);
        let later = start + Duration::from_secs(10);
        let same = Sighting::update(Some(first.clone()), spec("other", wall), later);
        assert_eq!(same.since, start);
        let renewed =
            Sighting::update(Some(same), spec("other", wall + SignedDuration::from_secs(10)), later);
        assert_eq!(renewed.since, later);
    }

    proptest! {
        /// Whatever the holder's clock says, a lease that is renewed in time is never taken.
        #[test]
        fn a_renewing_holder_is_safe_from_clock_skew(skew in -59_i64..3600, pauses in proptest::collection::vec(0_u64..15, 1..20)) {
            let (mut now, mut wall) = (Instant::now(), Timestamp::now());
            let mut sighting = None;
            for pause in pauses {
                let holders_clock = wall + SignedDuration::from_secs(skew);
                sighting = Some(Sighting::update(sighting, spec("other", holders_clock), now));
                now += Duration::from_secs(pause);
                wall += SignedDuration::from_secs(i64::try_from(pause).unwrap());
                prop_assert!(matches!(evaluate(sighting.as_ref(), "me", now, wall), Decision::Wait(_)));
            }
        }
    }
}
