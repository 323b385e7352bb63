//! What the outcomes mean.

use std::collections::BTreeMap;
use std::time::Duration;

use super::report::{Outcome, Report, State};
use super::suite::Suite;

/// Every test of a suite, accounted for.
#[derive(Debug)]
pub struct Verdict {
    /// In order of name.
    pub tests: Vec<Judged>,
    /// Failures that belong to no test.
    pub around: Vec<String>,
}

/// One test.
#[derive(Debug)]
pub struct Judged {
    /// Its full name.
    pub name: &'static str,
    /// What happened to it; `None` when it did not run.
    pub outcome: Option<Outcome>,
    /// Why it needs a node, when it does.
    pub needs_node: Option<&'static str>,
}

impl Judged {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.outcome.as_ref().is_some_and(|o| o.state == State::Passed)
    }

    /// Whether the cluster is to blame.
    pub fn is_fault(&self) -> bool {
        !self.passed() && self.needs_node.is_none()
    }

    /// What happened, in a word.
    pub fn word(&self) -> &'static str {
        match self.outcome.as_ref().map(|o| o.state) {
            None => "did not run",
            Some(State::Passed) => "passed",
            Some(State::Skipped) => "skipped itself",
            Some(State::Failed) => "failed",
        }
    }

    /// What it took.
    pub fn time(&self) -> Duration {
        self.outcome.as_ref().map_or(Duration::ZERO, |o| o.time)
    }
}

impl Verdict {
    /// Judges a report.
    pub fn new(suite: &Suite, report: &Report, needs_node: BTreeMap<&'static str, &'static str>) -> Self {
        let judge = |name: &&'static str| Judged {
            name,
            outcome: report.tests.get(*name).cloned(),
            needs_node: needs_node.get(*name).copied(),
        };
        Self { tests: suite.tests.iter().map(judge).collect(), around: report.around.clone() }
    }

    /// The tests whose end is the cluster's fault.
    pub fn faults(&self) -> impl Iterator<Item = &Judged> {
        self.tests.iter().filter(|test| test.is_fault())
    }

    /// Whether all is well.
    ///
    /// # Errors
    /// When a test failed or did not run that must pass, or when something around the tests failed.
    pub fn result(&self) -> anyhow::Result<()> {
        let faults = self.faults().count();
        anyhow::ensure!(faults == 0, "{faults} of {} conformance tests did not pass", self.tests.len());
        anyhow::ensure!(self.around.is_empty(), "the conformance suite failed: {}", self.around.join("; "));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(state: Option<State>, needs_node: bool, around: &[&str]) -> Verdict {
        let suite = Suite { title: "", tests: ["a"].into(), timeout: Duration::ZERO, procs: 1, nodes: false };
        let mut report =
            Report { around: around.iter().map(|s| (*s).to_owned()).collect(), ..Report::default() };
        if let Some(state) = state {
            let outcome = Outcome { state, time: Duration::ZERO, message: String::new() };
            report.tests.insert("a".into(), outcome);
        }
        let reasons = if needs_node { [("a", "runs a pod")].into() } else { BTreeMap::new() };
        Verdict::new(&suite, &report, reasons)
    }

    #[test]
    fn only_passing_passes() {
        assert!(verdict(Some(State::Passed), false, &[]).result().is_ok());
        for state in [None, Some(State::Skipped), Some(State::Failed)] {
            assert!(verdict(state, false, &[]).result().is_err(), "{state:?}");
            assert!(verdict(state, true, &[]).result().is_ok(), "{state:?}");
        }
        assert!(verdict(Some(State::Passed), false, &["the suite timed out"]).result().is_err());
    }
}
