//! Versions of a pool's nodes: while they are mixed, people see how.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use skep_api::node_pool::NodeVersionCount;
use skep_api::{KubeVersion, Machine};

/// Versions kept at most, as the schema has it.
const MOST: usize = 16;

/// The versions that nodes report, newest first, and the same in one line.
pub(super) fn of(machines: &[Arc<Machine>]) -> (Vec<NodeVersionCount>, Option<String>) {
    let mut counts: BTreeMap<&str, i32> = BTreeMap::new();
    let live = machines.iter().filter(|machine| machine.metadata.deletion_timestamp.is_none());
    for version in live.filter_map(|machine| machine.status.as_ref()?.versions.as_ref()) {
        *counts.entry(&version.kubelet).or_default() += 1;
    }
    let mut all: Vec<NodeVersionCount> = counts
        .into_iter()
        .map(|(version, count)| NodeVersionCount { version: version.to_owned(), count })
        .collect();
    all.sort_by_cached_key(|one| (Reverse(one.version.parse::<KubeVersion>().ok()), one.version.clone()));
    all.truncate(MOST);
    let one = |one: &NodeVersionCount| format!("{} ({})", one.version, one.count);
    // Sixteen versions of a kubelet's own length fit; what a node invents may not.
    let line: String = all.iter().map(one).collect::<Vec<_>>().join(", ").chars().take(512).collect();
    (all, Some(line).filter(|line| !line.is_empty()))
}
