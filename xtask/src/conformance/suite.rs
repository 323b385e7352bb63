//! Which tests run. A test is known by its whole name, as upstream prints it.

use std::collections::BTreeSet;
use std::time::Duration;

use skep_api::KubeVersion;

/// What upstream calls its suite; the runner puts it before every name.
const DESCRIPTION: &str = "Kubernetes e2e suite";

const ALL: &str = include_str!("../../../tests/conformance/all-tests.txt");
const NODELESS: &str = include_str!("../../../tests/conformance/nodeless-tests.txt");
const QUICK: &str = include_str!("../../../tests/conformance/quick-tests.txt");
/// Tests in these lists that came with a minor.
const SINCE: [(u64, &str); 1] = [(36, include_str!("../../../tests/conformance/since-1.36.txt"))];

/// A selection of tests.
#[derive(Debug)]
pub struct Suite {
    /// What the selection is, for people.
    pub title: &'static str,
    /// Full names, sorted.
    pub tests: BTreeSet<&'static str>,
    /// When the runner gives up.
    pub timeout: Duration,
    /// Tests at once. Most of a test's time is waiting, so there are more of them than cores; each takes 100 MiB.
    pub procs: usize,
    /// Whether the cluster is to have nodes.
    pub nodes: bool,
}

impl Suite {
    /// Every test that upstream calls a conformance test. Those that must be alone run after the others.
    pub fn all() -> Self {
        Self {
            title: "all tests",
            tests: names(ALL),
            timeout: Duration::from_secs(2 * 60 * 60),
            procs: 8,
            nodes: true,
        }
    }

    /// All tests that were chosen to need no node.
    pub fn nodeless() -> Self {
        Self {
            title: "tests that need no node",
            tests: names(NODELESS),
            timeout: Duration::from_secs(45 * 60),
            // Four of them wait for five to ten minutes each; the others must not wait for those.
            procs: 8,
            nodes: false,
        }
    }

    /// A selection of them for every day.
    pub fn quick() -> Self {
        Self {
            title: "quick selection",
            tests: names(QUICK),
            timeout: Duration::from_secs(5 * 60),
            procs: 4,
            nodes: false,
        }
    }

    /// Leaves only the tests that this version has.
    pub fn of(mut self, version: &KubeVersion) -> Self {
        for (_, list) in SINCE.iter().filter(|(minor, _)| version.minor() < *minor) {
            let newer = names(list);
            self.tests.retain(|name| !newer.contains(name));
        }
        self
    }

    /// Leaves only the tests with this in their names.
    pub fn narrow(&mut self, only: &str) -> anyhow::Result<()> {
        self.tests.retain(|name| name.contains(only));
        anyhow::ensure!(!self.tests.is_empty(), "no test has such a name");
        self.title = "a selection of all tests";
        Ok(())
    }

    /// A regular expression that matches these tests, each from its first to its last character, and no others.
    pub fn focus(&self) -> String {
        let names: Vec<String> = self.tests.iter().map(|name| escape(name)).collect();
        format!("^{DESCRIPTION} (?:{})$", names.join("|"))
    }
}

/// One name per line; `#` begins a comment line.
pub fn names(list: &'static str) -> BTreeSet<&'static str> {
    list.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
}

/// Takes the meaning from the characters that have one in Go's regular expressions (`regexp.QuoteMeta`).
fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len() + 16);
    for c in name.chars() {
        if r"\.+*?()|[]{}^$".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_what_they_say() {
        let every = Suite::all().tests;
        assert_eq!(every.len(), 446);
        let all = Suite::nodeless().tests;
        assert!(all.is_subset(&every), "{:?}", all.difference(&every));
        assert_eq!(all.len(), 146);
        assert!(all.iter().all(|name| name.starts_with("[sig-") && name.contains("[Conformance]")));
        let quick = Suite::quick().tests;
        assert!(!quick.is_empty() && quick.is_subset(&all), "{:?}", quick.difference(&all));
        assert_eq!(
            QUICK.lines().filter(|l| l.starts_with('[')).count(),
            quick.len(),
            "a name is listed twice"
        );
    }

    /// Upstream's `test/conformance/testdata/conformance.yaml` has as many.
    #[test]
    fn an_older_minor_has_fewer_tests() {
        let count = |version: &str| Suite::all().of(&version.parse().unwrap()).tests.len();
        assert_eq!((count("v1.36.3"), count("v1.35.4")), (446, 441));
    }

    #[test]
    fn names_mean_themselves() {
        assert_eq!(escape("[sig-x] a (b) c. `d` {e}|f"), r"\[sig-x\] a \(b\) c\. `d` \{e\}\|f");
        let suite = Suite {
            title: "",
            tests: names("# no\n\nb [C]\na."),
            timeout: Duration::ZERO,
            procs: 1,
            nodes: false,
        };
        assert_eq!(suite.focus(), r"^Kubernetes e2e suite (?:a\.|b \[C\])$");
    }
}
