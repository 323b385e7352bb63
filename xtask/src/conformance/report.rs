//! The runner's JSON report, as far as it is needed.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;

/// What happened to each test that was not filtered out.
#[derive(Debug, Default)]
pub struct Report {
    /// By full name.
    pub tests: BTreeMap<String, Outcome>,
    /// Failures outside of tests: set-up, tear-down, the suite itself.
    pub around: Vec<String>,
}

/// One test's end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// What became of it.
    pub state: State,
    /// What it took.
    pub time: Duration,
    /// Why it did not pass.
    pub message: String,
}

/// What became of a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It passed.
    Passed,
    /// It skipped itself.
    Skipped,
    /// Anything else: failed, panicked, timed out, interrupted.
    Failed,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SuiteReport {
    #[serde(default)]
    spec_reports: Option<Vec<Spec>>,
    #[serde(default)]
    special_suite_failure_reasons: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Spec {
    #[serde(default)]
    container_hierarchy_texts: Option<Vec<String>>,
    leaf_node_type: String,
    #[serde(default)]
    leaf_node_text: String,
    state: String,
    /// Nanoseconds.
    #[serde(default)]
    run_time: u64,
    #[serde(default)]
    failure: Failure,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Failure {
    #[serde(default)]
    message: String,
}

impl Report {
    /// Reads the file that the runner wrote.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = std::fs::read(path).with_context(|| format!("the runner left no {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not the runner's report", path.display()))
    }

    fn parse(text: &[u8]) -> anyhow::Result<Self> {
        let suites: Vec<SuiteReport> = serde_json::from_slice(text)?;
        let mut report = Self::default();
        for suite in suites {
            report.around.extend(suite.special_suite_failure_reasons.unwrap_or_default());
            for spec in suite.spec_reports.unwrap_or_default() {
                report.add(spec);
            }
        }
        Ok(report)
    }

    fn add(&mut self, spec: Spec) {
        let state = match spec.state.as_str() {
            "passed" => State::Passed,
            // A test that was filtered out is skipped without a reason, one that skips itself gives one.
            "skipped" | "pending" if spec.failure.message.is_empty() => return,
            "skipped" => State::Skipped,
            _ => State::Failed,
        };
        let mut texts = spec.container_hierarchy_texts.unwrap_or_default();
        if spec.leaf_node_type != "It" {
            if state == State::Failed {
                self.around.push(format!("{}: {}", spec.leaf_node_type, spec.failure.message));
            }
            return;
        }
        texts.push(spec.leaf_node_text);
        let outcome =
            Outcome { state, time: Duration::from_nanos(spec.run_time), message: spec.failure.message };
        self.tests.insert(texts.join(" "), outcome);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states() {
        let text = r#"[{"SuiteSucceeded":false,"SpecialSuiteFailureReasons":["timed out"],"SpecReports":[
            {"ContainerHierarchyTexts":null,"LeafNodeType":"SynchronizedBeforeSuite","State":"failed","RunTime":1,
             "Failure":{"Message":"no cluster"}},
            {"ContainerHierarchyTexts":["[sig-x] A","when b"],"LeafNodeType":"It","LeafNodeText":"does c","State":"passed",
             "RunTime":2500000000},
            {"ContainerHierarchyTexts":["[sig-x] A"],"LeafNodeType":"It","LeafNodeText":"filtered","State":"skipped"},
            {"ContainerHierarchyTexts":["[sig-x] A"],"LeafNodeType":"It","LeafNodeText":"gives up","State":"skipped",
             "Failure":{"Message":"needs Windows"}},
            {"ContainerHierarchyTexts":["[sig-x] A"],"LeafNodeType":"It","LeafNodeText":"hangs","State":"timedout",
             "Failure":{"Message":"too late"}}]}]"#;
        let report = Report::parse(text.as_bytes()).unwrap();
        assert_eq!(report.around, ["timed out", "SynchronizedBeforeSuite: no cluster"]);
        let states: Vec<_> =
            report.tests.iter().map(|(name, o)| (name.as_str(), o.state, o.message.as_str())).collect();
        assert_eq!(
            states,
            [
                ("[sig-x] A gives up", State::Skipped, "needs Windows"),
                ("[sig-x] A hangs", State::Failed, "too late"),
                ("[sig-x] A when b does c", State::Passed, ""),
            ]
        );
        assert_eq!(report.tests["[sig-x] A when b does c"].time, Duration::from_millis(2500));
        assert!(Report::parse(b"{}").is_err());
    }
}
