//! The table for people.

use std::fmt::Write as _;
use std::time::Duration;

use skep_api::KubeVersion;

use super::suite::Suite;
use super::verdict::{Judged, Verdict};

/// How many of the slowest tests are named.
const SLOWEST: usize = 5;
/// How much of a failure's message is shown; the log has all of it.
const MESSAGE_LINES: usize = 6;

/// Renders a verdict as Markdown.
pub fn render(suite: &Suite, version: &KubeVersion, verdict: &Verdict, wall: Duration) -> String {
    let mut out = String::new();
    let tests = &verdict.tests;
    let count = |wanted: &dyn Fn(&Judged) -> bool| tests.iter().filter(|test| wanted(test)).count();
    let _ = writeln!(
        out,
        "Upstream conformance of {version}, {}: {} tests in {}\n",
        suite.title,
        tests.len(),
        clock(wall)
    );
    let _ = writeln!(out, "| outcome | tests |\n|---|---:|");
    for (what, number) in [
        ("passed", count(&|t| t.passed())),
        ("failed", count(&|t| t.is_fault() && t.word() == "failed")),
        ("skipped or not run", count(&|t| t.is_fault() && t.word() != "failed")),
        ("not passed, needs a node", count(&|t| !t.passed() && t.needs_node.is_some())),
    ] {
        let _ = writeln!(out, "| {what} | {number} |");
    }
    let needing: Vec<&Judged> = tests.iter().filter(|test| test.needs_node.is_some()).collect();
    if !needing.is_empty() {
        let _ = writeln!(out, "\nThese need a node, which a cluster without nodes cannot give them:\n");
        let _ = writeln!(out, "| test | outcome | seconds | why |\n|---|---|---:|---|");
        for test in needing {
            let _ = writeln!(
                out,
                "| {} | {} | {:.1} | {} |",
                cell(test.name),
                test.word(),
                test.time().as_secs_f64(),
                test.needs_node.unwrap_or_default()
            );
        }
    }
    if verdict.faults().next().is_some() || !verdict.around.is_empty() {
        let _ = writeln!(out, "\nFailures:\n");
        for test in verdict.faults() {
            let _ = writeln!(out, "* {} ({}, {:.1} s)", test.name, test.word(), test.time().as_secs_f64());
            let message = test.outcome.as_ref().map_or("", |o| o.message.as_str());
            for line in message.lines().filter(|line| !line.trim().is_empty()).take(MESSAGE_LINES) {
                let _ = writeln!(out, "      {line}");
            }
        }
        for failure in &verdict.around {
            let _ = writeln!(out, "* around the tests: {failure}");
        }
    }
    let mut slowest: Vec<&Judged> = tests.iter().collect();
    slowest.sort_by_key(|test| std::cmp::Reverse(test.time()));
    let _ = writeln!(out, "\n| slowest | seconds |\n|---|---:|");
    for test in slowest.into_iter().take(SLOWEST) {
        let _ = writeln!(out, "| {} | {:.1} |", cell(test.name), test.time().as_secs_f64());
    }
    out
}

/// `|` would end a cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// `3 min 07 s`.
pub fn clock(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..60 => format!("{seconds} s"),
        seconds => format!("{} min {:02} s", seconds / 60, seconds % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::report::{Outcome, Report, State};

    #[test]
    fn a_person_sees_what_failed_and_what_needs_a_node() {
        let suite = Suite {
            title: "four tests",
            tests: ["[x] passes", "[x] fails | badly", "[x] is missing", "[x] runs a pod"].into(),
            timeout: Duration::ZERO,
            procs: 1,
            nodes: false,
        };
        let mut report = Report { around: vec!["AfterSuite: too late".into()], ..Report::default() };
        for (name, state, seconds, message) in [
            ("[x] passes", State::Passed, 3, ""),
            ("[x] fails | badly", State::Failed, 7, "expected 1\n\nto equal 2"),
            ("[x] runs a pod", State::Failed, 120, "pod is pending"),
        ] {
            let outcome = Outcome { state, time: Duration::from_secs(seconds), message: message.into() };
            report.tests.insert(name.into(), outcome);
        }
        let verdict = Verdict::new(&suite, &report, [("[x] runs a pod", "waits for a running pod")].into());
        insta::assert_snapshot!(render(
            &suite,
            &"v1.36.3".parse().unwrap(),
            &verdict,
            Duration::from_secs(127)
        ));
    }
}
