//! Whether the pods of a candidate can be kept apart as they demand.
//!
//! What runs in the cluster already is not known here, so this only says no when it is certain: pods that exclude each other
//! need as many domains as they are, and all new nodes of a candidate are one domain of everything but their host names.
//! (`matchLabelKeys` need no care: the API server has put them into the selector when the pod was made.)

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Candidate, Labels, Opinion, Pod};

/// Upstream's label with the name of the host: the only one in which new nodes of a group differ.
const HOSTNAME: &str = "kubernetes.io/hostname";
/// Comparisons of two pods in one decision at most. What is left then is not judged, and stays.
pub(super) const BUDGET: usize = 1_000_000;
/// Different pods of one candidate that are looked at.
const KINDS: usize = 64;

/// Equal pods, and how many.
struct Kind<'a> {
    pod: &'a Pod,
    count: usize,
}

pub(super) fn judge(candidate: &Candidate, budget: &mut usize) -> Opinion {
    let Some(node) = &candidate.node else { return Opinion::Silent };
    if candidate.pods.iter().all(|pod| pod.apart.is_empty() && pod.spread.is_empty()) {
        return Opinion::Silent;
    }
    let kinds = kinds(&candidate.pods, budget);
    let missing = kinds
        .iter()
        .flat_map(|kind| &kind.pod.spread)
        .find(|spread| spread.key != HOSTNAME && !node.contains_key(&spread.key));
    if let Some(spread) = missing {
        return Opinion::Impossible(format!(
            "pods must be spread over {}, which the node has not",
            spread.key
        ));
    }
    for key in keys(&kinds) {
        let Some(domains) = domains(candidate, node, key) else { continue };
        let apart = largest(&kinds, key, budget);
        if apart > domains {
            return Opinion::Impossible(format!(
                "{apart} pods must be apart by {key}, and the new nodes are {domains} of it"
            ));
        }
    }
    Opinion::Possible("anti-affinity can be kept".to_owned())
}

/// Different values of a label among the new nodes; `None` when they do not have it, and then nothing is kept apart by it.
fn domains(candidate: &Candidate, node: &Labels, key: &str) -> Option<usize> {
    match key {
        HOSTNAME => usize::try_from(candidate.nodes).ok(),
        _ => node.contains_key(key).then_some(1),
    }
}

fn kinds<'a>(pods: &'a [Arc<Pod>], budget: &mut usize) -> Vec<Kind<'a>> {
    let mut kinds: Vec<Kind<'a>> = Vec::new();
    for pod in pods {
        let same = |kind: &Kind<'_>| {
            *budget = budget.saturating_sub(1);
            std::ptr::eq(kind.pod, &raw const **pod) || *kind.pod == **pod
        };
        match kinds.iter().position(same) {
            Some(at) => kinds[at].count += 1,
            None if kinds.len() < KINDS && *budget > 0 => kinds.push(Kind { pod, count: 1 }),
            None => {}
        }
    }
    kinds
}

fn keys<'a>(kinds: &[Kind<'a>]) -> BTreeSet<&'a str> {
    kinds.iter().flat_map(|kind| &kind.pod.apart).map(|term| term.key.as_str()).collect()
}

/// A number of pods no two of which may share a domain. It is the largest in all usual cases, and never too large.
fn largest(kinds: &[Kind<'_>], key: &str, budget: &mut usize) -> usize {
    let mut exclude = |a: &Pod, b: &Pod| {
        if *budget == 0 {
            return false;
        }
        *budget -= 1;
        a.repels(b, key) || b.repels(a, key)
    };
    let mut sorted: Vec<(&Kind<'_>, usize)> =
        kinds.iter().map(|kind| (kind, if exclude(kind.pod, kind.pod) { kind.count } else { 1 })).collect();
    sorted.sort_by_key(|(_, weight)| std::cmp::Reverse(*weight));
    let mut chosen: Vec<&Kind<'_>> = Vec::new();
    let mut total = 0;
    for (kind, weight) in sorted {
        if chosen.iter().all(|other| exclude(kind.pod, other.pod)) {
            chosen.push(kind);
            total += weight;
        }
    }
    total
}
