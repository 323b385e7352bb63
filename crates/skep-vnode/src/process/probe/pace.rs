//! When tries are made and what they amount to. Pure.
//!
//! Upstream's rules: the first try after `initialDelaySeconds`, then one every `periodSeconds`; `failureThreshold`
//! failures or `successThreshold` successes in a row change the verdict, less change nothing.
//!
//! One addition. Creating and waking a cluster must not wait for the end of a period, so while a container has never
//! been well yet, startup and readiness are *also* tried between those ticks, at intervals of a twentieth of the time
//! it has been starting (at least 25 ms): the container is found well at most five hundredths later than it is. Only
//! success counts in these tries; a container is never judged worse or killed sooner because of them. The first of them is
//! made at once in a container that has run for a while, as a kubelet asks for readiness when the startup probe has
//! succeeded.

use std::time::Duration;

use k8s_openapi::api::core::v1::Probe;

/// Shortest time between two eager tries.
const EAGER: Duration = Duration::from_millis(25);
/// The same for tries that start a process.
const EAGER_COSTLY: Duration = Duration::from_millis(100);
/// Which part of the time since the start lies between two eager tries.
const EAGER_PART: u32 = 20;

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Kind {
    /// Whether it has come up; until then the others wait.
    Startup,
    /// Whether it must be restarted.
    Liveness,
    /// Whether it takes work.
    Readiness,
}

impl Kind {
    /// As in messages: `Readiness probe failed`.
    pub(in super::super) fn title(self) -> &'static str {
        match self {
            Self::Startup => "Startup",
            Self::Liveness => "Liveness",
            Self::Readiness => "Readiness",
        }
    }
}

/// The numbers of a probe, with the API's defaults filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Pace {
    initial_delay: Duration,
    period: Duration,
    pub timeout: Duration,
    failures: u32,
    successes: u32,
    /// Shortest time between eager tries; none for probes without them.
    eager: Option<Duration>,
}

impl Pace {
    pub(in super::super) fn new(kind: Kind, probe: &Probe, costly: bool) -> Self {
        let seconds = |value: Option<i32>, least: u64, default: u64| {
            Duration::from_secs(value.and_then(|v| u64::try_from(v).ok()).unwrap_or(default).max(least))
        };
        let count = |value: Option<i32>, default: u32| {
            value.and_then(|v| u32::try_from(v).ok()).filter(|v| *v > 0).unwrap_or(default)
        };
        let successes = count(probe.success_threshold, 1);
        let eager =
            (kind != Kind::Liveness && successes == 1).then_some(if costly { EAGER_COSTLY } else { EAGER });
        Self {
            initial_delay: seconds(probe.initial_delay_seconds, 0, 0),
            period: seconds(probe.period_seconds, 1, 10),
            timeout: seconds(probe.timeout_seconds, 1, 1),
            failures: count(probe.failure_threshold, 3),
            successes,
            eager,
        }
    }
}

/// The next try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Turn {
    /// How long after the start of the container.
    pub at: Duration,
    /// Whether a failure counts.
    pub counts: bool,
}

/// What the tries so far amount to.
#[derive(Clone, Debug)]
pub(in super::super) struct Record {
    pace: Pace,
    /// The next tick of the period.
    tick: Duration,
    eager: bool,
    /// Whether the first try is due now.
    due: bool,
    last: Option<bool>,
    run: u32,
}

impl Record {
    /// Of a container that has run for `age`. `was_well`: it was found well before, so no eager tries.
    pub(in super::super) fn new(pace: Pace, age: Duration, was_well: bool) -> Self {
        let first = pace.initial_delay + pace.period;
        let tick = if age < first { first } else { age + pace.period };
        let eager = pace.eager.is_some() && !was_well;
        let due = eager && pace.eager.is_some_and(|least| age >= least);
        Self { pace, tick, eager, due, last: None, run: 0 }
    }

    /// When to try next, for a container that has run for `age`.
    pub(in super::super) fn next(&self, age: Duration) -> Turn {
        let Some(least) = self.pace.eager.filter(|_| self.eager) else {
            return Turn { at: self.tick, counts: true };
        };
        let starting = age.saturating_sub(self.pace.initial_delay);
        let pause = if self.due { Duration::ZERO } else { (starting / EAGER_PART).max(least) };
        let at = self.pace.initial_delay.max(age + pause);
        if at >= self.tick { Turn { at: self.tick, counts: true } } else { Turn { at, counts: false } }
    }

    /// Notes a try that was made at `age`; returns a verdict when there is one.
    pub(in super::super) fn note(&mut self, turn: Turn, age: Duration, success: bool) -> Option<bool> {
        if !self.skip(turn, age) && !success {
            return None;
        }
        if success {
            self.eager = false;
        }
        self.run = if self.last == Some(success) { self.run.saturating_add(1) } else { 1 };
        self.last = Some(success);
        let enough = if success { self.pace.successes } else { self.pace.failures };
        (self.run >= enough).then_some(success)
    }

    /// Notes a try that could not be made. Returns whether it would have counted.
    pub(in super::super) fn skip(&mut self, turn: Turn, age: Duration) -> bool {
        self.due = false;
        if turn.counts {
            while self.tick <= age {
                self.tick += self.pace.period;
            }
        }
        turn.counts
    }

    /// Whether this failure is one people should hear of: the first of a row, and the one that decides.
    pub(in super::super) fn is_news(&self) -> bool {
        self.run == 1 || self.run == self.pace.failures
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn probe(json: serde_json::Value) -> Probe {
        serde_json::from_value(json).unwrap()
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// Plays a probe whose outcome depends on the time; returns (verdict, when) and the number of tries.
    fn play(
        record: &mut Record,
        mut age: Duration,
        until: Duration,
        well: impl Fn(Duration) -> bool,
    ) -> (Vec<(u128, bool)>, usize) {
        let (mut verdicts, mut tries) = (Vec::new(), 0);
        loop {
            let turn = record.next(age);
            if turn.at > until {
                return (verdicts, tries);
            }
            age = turn.at;
            tries += 1;
            if let Some(verdict) = record.note(turn, age, well(age)) {
                verdicts.push((age.as_millis(), verdict));
            }
        }
    }

    #[test]
    fn a_slow_start_is_noticed_soon_and_never_held_against_it() {
        let pace = Pace::new(Kind::Readiness, &probe(serde_json::json!({"periodSeconds": 10})), false);
        let mut record = Record::new(pace, Duration::ZERO, false);
        let (verdicts, tries) =
            play(&mut record, Duration::ZERO, seconds(25), |age| age >= Duration::from_millis(2200));
        let (first, well) = verdicts[0];
        assert!(well && (2200..2320).contains(&first), "{first}");
        assert!(tries < 80, "{tries}");
        assert_eq!(verdicts[1..], [(10_000, true), (20_000, true)], "afterwards the period holds");
    }

    #[test]
    fn readiness_is_asked_for_at_once_after_a_long_start() {
        let pace = Pace::new(Kind::Readiness, &probe(serde_json::json!({"periodSeconds": 10})), false);
        let age = seconds(3);
        let mut record = Record::new(pace, age, false);
        assert_eq!(record.next(age), Turn { at: age, counts: false });
        // It is not yet: from here on as during the start.
        assert_eq!(record.note(record.next(age), age, false), None);
        assert_eq!(record.next(age), Turn { at: Duration::from_millis(3150), counts: false });
    }

    #[test]
    fn thresholds_are_upstreams() {
        let pace = Pace::new(
            Kind::Liveness,
            &probe(serde_json::json!({"periodSeconds": 5, "failureThreshold": 2, "initialDelaySeconds": 7})),
            false,
        );
        let mut record = Record::new(pace, Duration::ZERO, false);
        let (verdicts, _) = play(&mut record, Duration::ZERO, seconds(30), |age| age < seconds(15));
        assert_eq!(verdicts, [(12_000, true), (22_000, false), (27_000, false)]);
    }

    #[test]
    fn several_successes_are_waited_for_without_eager_tries() {
        let pace = Pace::new(
            Kind::Readiness,
            &probe(serde_json::json!({"periodSeconds": 2, "successThreshold": 3})),
            false,
        );
        let mut record = Record::new(pace, Duration::ZERO, false);
        let (verdicts, tries) = play(&mut record, Duration::ZERO, seconds(7), |_| true);
        assert_eq!((verdicts, tries), (vec![(6000, true)], 3));
    }

    #[test]
    fn a_startup_probe_gives_up_after_its_periods() {
        let pace = Pace::new(
            Kind::Startup,
            &probe(serde_json::json!({"periodSeconds": 1, "failureThreshold": 4})),
            true,
        );
        let mut record = Record::new(pace, Duration::ZERO, false);
        let (verdicts, _) = play(&mut record, Duration::ZERO, seconds(4), |_| false);
        assert_eq!(verdicts, [(4000, false)]);
    }

    #[test]
    fn defaults_and_nonsense() {
        let pace = Pace::new(
            Kind::Readiness,
            &probe(serde_json::json!({"periodSeconds": 0, "timeoutSeconds": -1, "failureThreshold": 0})),
            false,
        );
        assert_eq!((pace.period, pace.timeout, pace.failures), (seconds(1), seconds(1), 3));
    }

    #[test]
    fn adopted_containers_go_on_at_their_period() {
        let pace = Pace::new(Kind::Readiness, &probe(serde_json::json!({"periodSeconds": 10})), false);
        assert_eq!(
            Record::new(pace, seconds(100), true).next(seconds(100)),
            Turn { at: seconds(110), counts: true }
        );
    }

    proptest! {
        #[test]
        fn time_moves_on_and_failures_before_the_first_tick_never_count(
            period in 1i32..30, delay in 0i32..20, threshold in 1i32..5, step in 1u64..5000
        ) {
            let pace = Pace::new(Kind::Startup, &probe(serde_json::json!({
                "periodSeconds": period, "initialDelaySeconds": delay, "failureThreshold": threshold})), false);
            let mut record = Record::new(pace, Duration::ZERO, false);
            let mut age = Duration::ZERO;
            let deadline = Duration::from_secs((delay + period * threshold) as u64);
            for _ in 0..2000 {
                let turn = record.next(age);
                prop_assert!(turn.at > age || turn.at >= pace.initial_delay);
                prop_assert!(turn.at >= pace.initial_delay);
                // A try may take a while.
                age = turn.at.max(age) + Duration::from_millis(if turn.counts { 0 } else { step % 50 });
                if record.note(turn, age, false) == Some(false) {
                    prop_assert!(age >= deadline);
                    return Ok(());
                }
            }
        }
    }
}
