//! Rotation of an authority with overlap, as arithmetic over the lives of its generations.
//!
//! A new generation is made when the newest is due for renewal. Verifiers trust it at once, but it signs only after
//! the `overlap`, when every verifier has had time to read the new bundle. The old one is trusted until everything
//! it signed has been replaced or has expired. Nothing needs to be remembered but the certificates themselves.

use std::time::Duration;

use jiff::Timestamp;

use crate::Validity;
use crate::validity::{BACKDATE, at};

/// What each generation is for at one moment. Indices are those of the list given to [`roles`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// The generation that signs; `None` when there is no valid one.
    pub signer: Option<usize>,
    /// The generations verifiers are to trust, oldest first.
    pub trusted: Vec<usize>,
    /// A new generation is to be made now.
    pub make: bool,
    /// When this answer changes next, unless a generation is added.
    pub next: Option<Timestamp>,
}

/// Decides the roles of `generations` (oldest first) at `now`. `overlap` is how long a new generation is trusted
/// before it signs; `leaf_life` is the longest life of what it signs.
pub fn roles(generations: &[Validity], overlap: Duration, leaf_life: Duration, now: Timestamp) -> Roles {
    let valid = |i: &usize| generations[*i].contains(now);
    let signs_from = |i: usize| later(issued(&generations[i]), overlap);
    let all = 0..generations.len();
    // The newest that has been trusted long enough; if none has, the oldest that still lives.
    let signer =
        all.clone().rev().filter(valid).find(|&i| signs_from(i) <= now).or_else(|| all.clone().find(valid));
    let gone_at = |i: usize| {
        // The first successor that signs ends this one's leaves a leaf's life later; its own end comes first.
        let successor = (i + 1..generations.len()).map(signs_from).min();
        let end = generations[i].not_after;
        successor.map_or(end, |s| end.min(later(s, leaf_life)))
    };
    let trusted: Vec<usize> =
        all.clone().filter(valid).filter(|&i| Some(i) == signer || now <= gone_at(i)).collect();
    let make = generations.last().is_none_or(|newest| newest.renewal_due(0, now));
    let next = all
        .flat_map(|i| [signs_from(i), at(gone_at(i).as_second() + 1), generations[i].renewal(0)])
        .filter(|t| *t > now)
        .min();
    Roles { signer, trusted, make, next }
}

/// When a generation was issued.
fn issued(validity: &Validity) -> Timestamp {
    later(validity.not_before, BACKDATE)
}

fn later(t: Timestamp, by: Duration) -> Timestamp {
    at(t.as_second().saturating_add(i64::try_from(by.as_secs()).unwrap_or(i64::MAX)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400;

    fn generation(now: i64, life: i64) -> Validity {
        Validity::starting(at(now), Duration::from_secs(life.unsigned_abs()), None)
    }

    fn days(n: i64) -> Duration {
        Duration::from_secs((n * DAY).unsigned_abs())
    }

    #[test]
    fn nothing_there_means_make_one() {
        let r = roles(&[], days(1), days(30), at(0));
        assert_eq!(r, Roles { signer: None, trusted: vec![], make: true, next: None });
    }

    #[test]
    fn the_first_generation_signs_at_once() {
        let r = roles(&[generation(1000, 300 * DAY)], days(1), days(30), at(1000));
        assert_eq!((r.signer, r.trusted, r.make), (Some(0), vec![0], false));
    }

    #[test]
    fn a_rotation_step_by_step() {
        let old = generation(DAY, 300 * DAY);
        let due = old.renewal(0).as_second();
        assert!(roles(&[old], days(1), days(30), at(due)).make);
        let both = [old, generation(due, 300 * DAY)];
        let state = |day: i64| {
            let r = roles(&both, days(1), days(30), at(due + day * DAY + 1));
            (r.signer, r.trusted, r.make)
        };
        assert_eq!(state(0), (Some(0), vec![0, 1], false), "trusted, not yet signing");
        assert_eq!(state(1), (Some(1), vec![0, 1], false), "signing, the old one trusted");
        assert_eq!(state(30), (Some(1), vec![0, 1], false));
        assert_eq!(state(31), (Some(1), vec![1], false), "nothing signed by the old one lives");
    }

    proptest! {
        /// Whoever follows the roles never shows a certificate that a verifier, even one that is late by the
        /// overlap, does not trust.
        #[test]
        fn followers_are_always_trusted(ca_days in 40i64..400, leaf_days in 1i64..20, step_hours in 1i64..48, late in 0i64..24) {
            let (overlap, leaf_life) = (days(1), days(leaf_days));
            let mut generations: Vec<Validity> = Vec::new();
            let mut bundles: Vec<(i64, Vec<usize>)> = Vec::new();
            let mut leaf: Option<(usize, Validity)> = None;
            let mut now = 10 * DAY;
            let end = now + ca_days * DAY * 3;
            while now < end {
                if roles(&generations, overlap, leaf_life, at(now)).make {
                    generations.push(generation(now, ca_days * DAY));
                }
                let r = roles(&generations, overlap, leaf_life, at(now));
                let signer = r.signer.expect("a signer at all times");
                bundles.push((now, r.trusted));
                let renew = match &leaf {
                    None => true,
                    Some((by, v)) => *by != signer && now % 2 == 0 || v.renewal_due(0, at(now)),
                };
                if renew {
                    leaf = Some((signer, Validity::starting(at(now), leaf_life, Some(generations[signer].not_after))));
                }
                // A verifier that read the bundle `late` hours ago.
                let read = now - late * 3600;
                let seen = bundles.iter().rev().find(|(t, _)| *t <= read).unwrap_or(&bundles[0]);
                let by = leaf.as_ref().map(|l| l.0).unwrap();
                if seen.0 <= read || by == 0 {
                    prop_assert!(seen.1.contains(&by), "at {now}: signed by {by}, trusted {:?}", seen.1);
                }
                now += step_hours * 3600;
            }
            prop_assert!(generations.len() >= 2);
        }

        #[test]
        fn the_signer_is_trusted_and_next_moves_on(starts in prop::collection::vec(0i64..1_000, 1..4), now in 0i64..1_000) {
            let mut starts = starts;
            starts.sort_unstable();
            let generations: Vec<_> = starts.iter().map(|s| generation(s * DAY, 100 * DAY)).collect();
            let r = roles(&generations, days(1), days(10), at(now * DAY));
            if let Some(signer) = r.signer {
                prop_assert!(r.trusted.contains(&signer));
            }
            prop_assert!(r.next.is_none_or(|n| n > at(now * DAY)));
        }
    }
}
