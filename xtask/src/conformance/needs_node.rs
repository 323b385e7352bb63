//! The listed tests that cannot pass on a cluster without a ready node, each with the reason.

use std::collections::BTreeMap;

const LIST: &str = include_str!("../../../tests/conformance/needs-a-node.txt");

/// Name → reason.
pub fn list() -> BTreeMap<&'static str, &'static str> {
    parse(LIST)
}

/// A line with a name, and after it an indented line with the reason.
fn parse(list: &'static str) -> BTreeMap<&'static str, &'static str> {
    let mut reasons = BTreeMap::new();
    let mut name = None;
    for line in list.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#')) {
        if line.starts_with(' ') {
            if let Some(name) = name.take() {
                reasons.insert(name, line.trim());
            }
        } else {
            name = Some(line.trim());
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::suite::Suite;

    #[test]
    fn every_name_is_a_listed_test_and_has_a_reason() {
        let all = Suite::nodeless().tests;
        let reasons = list();
        assert_eq!(LIST.lines().filter(|line| line.starts_with('[')).count(), reasons.len());
        for (name, reason) in reasons {
            assert!(all.contains(name), "{name} is not among the tests");
            assert!(reason.len() > 20, "{name}: {reason}");
            assert!(!Suite::quick().tests.contains(name), "{name} is in the quick selection");
        }
    }
}
