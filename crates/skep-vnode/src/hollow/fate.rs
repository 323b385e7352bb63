//! What happens to one pod: the configuration, its dice, and what its label orders. Pure.

use super::config::Config;
use super::dice::{chance, draw, key, sample};
use super::life::Millis;
use super::spec::{Part, Probe};

/// Kinds of draws; numbers are never reused.
mod what {
    pub const PULL: u8 = 1;
    pub const START: u8 = 2;
    pub const FAILS: u8 = 3;
    pub const STARTUP: u8 = 4;
    pub const READY: u8 = 5;
    pub const RUN: u8 = 6;
    pub const CODE: u8 = 7;
    pub const STOP: u8 = 8;
}

/// Exit code of a container that could not be started, as containerd reports it.
pub const START_FAILED: i32 = 128;

/// What the label [`super::HOLLOW`] of a pod orders, whatever the configuration says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ordered {
    /// `fail-start`: no container ever starts.
    FailStart,
    /// `unready`: containers run and are never ready.
    Unready,
    /// `exit-N`: containers run for a while and end with this code.
    Exit(u8),
}

impl Ordered {
    /// What a value of the label means; anything else means nothing.
    pub fn parse(value: &str) -> Option<Self> {
        match value {
            "fail-start" => Some(Self::FailStart),
            "unready" => Some(Self::Unready),
            other => Some(Self::Exit(other.strip_prefix("exit-")?.parse().ok()?)),
        }
    }
}

/// The fate of one pod.
#[derive(Clone, Copy, Debug)]
pub struct Fate<'a> {
    config: &'a Config,
    key: u64,
    ordered: Option<Ordered>,
}

impl<'a> Fate<'a> {
    /// Of the pod of this name.
    pub fn new(config: &'a Config, namespace: &str, name: &str, ordered: Option<Ordered>) -> Self {
        Self { config, key: key(config.seed, &["pod", namespace, name]), ordered }
    }

    fn draw(&self, what: u8, index: usize, attempt: u32) -> u64 {
        draw(self.key, what, index, u64::from(attempt))
    }

    /// Time to pull the image of a container.
    pub fn pull(&self, index: usize) -> Millis {
        sample(self.config.timings.pull, self.draw(what::PULL, index, 0))
    }

    /// Time to start it.
    pub fn start(&self, index: usize, attempt: u32) -> Millis {
        sample(self.config.timings.start, self.draw(what::START, index, attempt))
    }

    /// Whether that fails.
    pub fn start_fails(&self, index: usize, attempt: u32) -> bool {
        self.ordered == Some(Ordered::FailStart)
            || chance(self.draw(what::FAILS, index, attempt), self.config.failures.start_per_mille)
    }

    /// From its start until it counts as started.
    pub fn startup(&self, part: &Part, index: usize, attempt: u32) -> Millis {
        self.probe(part.startup_probe, what::STARTUP, index, attempt)
    }

    /// From there until it is ready; `None`: never.
    pub fn ready(&self, part: &Part, index: usize, attempt: u32) -> Option<Millis> {
        (self.ordered != Some(Ordered::Unready))
            .then(|| self.probe(part.readiness_probe, what::READY, index, attempt))
    }

    fn probe(&self, probe: Option<Probe>, what: u8, index: usize, attempt: u32) -> Millis {
        probe.map_or(0, |probe| {
            let delay = probe.initial_delay_seconds.clamp(0, 86_400) * 1000;
            delay + sample(self.config.timings.probe, self.draw(what, index, attempt))
        })
    }

    /// After how long an init container ends, always well.
    pub fn init_ends(&self, index: usize, attempt: u32) -> (Millis, i32) {
        (sample(self.config.timings.init, self.draw(what::RUN, index, attempt)), 0)
    }

    /// After how long any other container ends by itself and with which code, if it does. `should`: its pod is made to end.
    pub fn ends(&self, should: bool, index: usize, attempt: u32) -> Option<(Millis, i32)> {
        let code = self.code(should, index, attempt)?;
        let run = sample(self.config.timings.run, self.draw(what::RUN, index, attempt));
        Some((run, code))
    }

    fn code(&self, should: bool, index: usize, attempt: u32) -> Option<i32> {
        let failures = &self.config.failures;
        let drawn = self.draw(what::CODE, index, attempt);
        match self.ordered {
            Some(Ordered::Exit(code)) => Some(code.into()),
            _ if !should => chance(drawn, failures.crash_per_mille).then_some(1),
            _ => {
                let mut left = drawn % 1000;
                for one in &failures.exit_codes {
                    match left.checked_sub(one.per_mille.into()) {
                        Some(rest) => left = rest,
                        None => return Some(one.code.into()),
                    }
                }
                Some(0)
            }
        }
    }

    /// Time to end on request.
    pub fn stop(&self, index: usize) -> Millis {
        sample(self.config.timings.stop, self.draw(what::STOP, index, 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hollow::config::{ExitCode, Failures};

    #[test]
    fn labels_order_what_they_say() {
        let cases = [
            ("fail-start", Some(Ordered::FailStart)),
            ("unready", Some(Ordered::Unready)),
            ("exit-3", Some(Ordered::Exit(3))),
            ("exit-300", None),
            ("exit-", None),
            ("true", None),
        ];
        for (value, meaning) in cases {
            assert_eq!(Ordered::parse(value), meaning, "{value}");
        }
    }

    #[test]
    fn codes_come_in_their_shares() {
        let exit_codes = vec![ExitCode { code: 1, per_mille: 100 }, ExitCode { code: 2, per_mille: 50 }];
        let config = Config { failures: Failures { exit_codes, ..Failures::default() }, ..Config::default() };
        let mut counts = [0; 3];
        for n in 0..10_000 {
            let fate = Fate::new(&config, "default", &format!("job-{n}"), None);
            counts[usize::try_from(fate.ends(true, 0, 0).unwrap().1).unwrap()] += 1;
            assert_eq!(fate.ends(false, 0, 0), None);
        }
        assert!((900..1100).contains(&counts[1]) && (420..580).contains(&counts[2]), "{counts:?}");
    }
}
