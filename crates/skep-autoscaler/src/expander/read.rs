//! Pure: from a message that anybody may have sent to candidates.
//!
//! Bounds below upstream's own 128 MiB for a message: 2,000 options, 20,000 nodes, 100,000 pods in all, 1.5 MiB for a pod (an
//! object in etcd is not larger) and for a node; of a pod at most 256 labels and 64 terms and constraints with 64 requirements
//! of 256 values each. Counted before anything is decoded, because a part of two bytes can take a hundred in memory.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use skep_plan::expander::{
    Candidate, Labels, Namespaces, Operator, Pod, Requirement, Selector, Spread, Term,
};

use crate::proto::core::{self, LabelSelector, NodeLabels, PodAffinityTerm};
use crate::proto::expander::{Choice, Envelope};
use crate::rpc::count;

const OPTIONS: usize = 2_000;
const NODES: usize = 20_000;
const PODS: usize = 100_000;
const OBJECT: usize = 3 << 19;
const NAME: usize = 253;
const LABELS: usize = 256;
const PARTS: usize = 64;
const VALUES: usize = 256;

/// Fields of the messages that are counted.
const FIELD_OPTIONS: u32 = 1;
const FIELD_NODES: u32 = 3;
const FIELD_PODS: u32 = 5;

type Read<T> = Result<T, String>;

/// Reads a `BestOptionsRequest`.
///
/// # Errors
/// A sentence that says what is wrong or too large.
pub(super) fn candidates(message: Bytes) -> Read<Vec<Candidate>> {
    let undecodable = |what: &str| {
        let what = what.to_owned();
        move |error: prost::DecodeError| format!("{what} cannot be decoded: {error}")
    };
    most("options", count(&message, FIELD_OPTIONS).map_err(undecodable("the request"))?, OPTIONS)?;
    most("nodes", count(&message, FIELD_NODES).map_err(undecodable("the request"))?, NODES)?;
    let Envelope { options, node_bytes_map } =
        Envelope::decode(message).map_err(undecodable("the request"))?;
    let mut pods_in_all = 0;
    let mut known = HashMap::new();
    let mut candidates = Vec::with_capacity(options.len());
    for option in options {
        pods_in_all += count(&option, FIELD_PODS).map_err(undecodable("an option"))?;
        most("pods", pods_in_all, PODS)?;
        let choice = Choice::decode(option).map_err(undecodable("an option"))?;
        most("bytes of a node group's name", choice.node_group_id.len(), NAME)?;
        let group = choice.node_group_id;
        let nodes = u32::try_from(choice.node_count)
            .map_err(|_| format!("node group {group:?} would get {} nodes", choice.node_count))?;
        let node = node_bytes_map.get(&group).map(|bytes| node(&group, bytes)).transpose()?;
        let pods = choice.pod_bytes.into_iter().map(|bytes| pod(&group, bytes, &mut known));
        candidates.push(Candidate { nodes, node, pods: pods.collect::<Read<_>>()?, group });
    }
    Ok(candidates)
}

fn most(what: &str, number: usize, limit: usize) -> Read<()> {
    match number > limit {
        true => Err(format!("it has {number} {what}, and {limit} are taken at most")),
        false => Ok(()),
    }
}

fn node(group: &str, bytes: &[u8]) -> Read<Labels> {
    most("bytes in a node", bytes.len(), OBJECT)?;
    let node = NodeLabels::decode(bytes)
        .map_err(|error| format!("the node of node group {group:?} cannot be decoded: {error}"))?;
    Ok(node.metadata.unwrap_or_default().labels)
}

/// A pod. The same one usually is in the options of all groups it fits; then it is read once.
fn pod(group: &str, bytes: Bytes, known: &mut HashMap<Bytes, Arc<Pod>>) -> Read<Arc<Pod>> {
    if let Some(pod) = known.get(&bytes) {
        return Ok(Arc::clone(pod));
    }
    most("bytes in a pod", bytes.len(), OBJECT)?;
    let pod = core::Pod::decode(bytes.clone())
        .map_err(|error| format!("a pod for node group {group:?} cannot be decoded: {error}"))?;
    let pod = Arc::new(convert(pod)?);
    known.insert(bytes, Arc::clone(&pod));
    Ok(pod)
}

fn convert(pod: core::Pod) -> Read<Pod> {
    let metadata = pod.metadata.unwrap_or_default();
    let spec = pod.spec.unwrap_or_default();
    let terms = spec.affinity.and_then(|affinity| affinity.pod_anti_affinity).unwrap_or_default().required;
    most("labels of a pod", metadata.labels.len(), LABELS)?;
    most("anti-affinity terms of a pod", terms.len(), PARTS)?;
    most("spread constraints of a pod", spec.topology_spread_constraints.len(), PARTS)?;
    let must = spec.topology_spread_constraints.into_iter();
    let must = must.filter(|constraint| constraint.when_unsatisfiable == "DoNotSchedule");
    Ok(Pod {
        namespace: metadata.namespace,
        labels: metadata.labels,
        apart: terms.into_iter().map(term).collect::<Read<_>>()?,
        spread: must.map(|constraint| Spread { key: constraint.topology_key }).collect(),
    })
}

fn term(term: PodAffinityTerm) -> Read<Term> {
    most("namespaces of a term", term.namespaces.len(), VALUES)?;
    let namespaces = match term.namespace_selector {
        Some(selector) if selector == LabelSelector::default() => Namespaces::All,
        None if term.namespaces.is_empty() => Namespaces::Own,
        // Which namespaces a selector means is not known here: only those that are named count.
        _ => Namespaces::These(term.namespaces),
    };
    Ok(Term { key: term.topology_key, selector: term.label_selector.map(selector).transpose()?, namespaces })
}

fn selector(selector: LabelSelector) -> Read<Selector> {
    most(
        "requirements of a selector",
        selector.match_labels.len() + selector.match_expressions.len(),
        PARTS,
    )?;
    let equal = selector
        .match_labels
        .into_iter()
        .map(|(key, value)| Ok(Requirement { key, operator: Operator::In, values: vec![value] }));
    let expressions = selector.match_expressions.into_iter().map(|expression| {
        most("values of a requirement", expression.values.len(), VALUES)?;
        let operator = match expression.operator.as_str() {
            "In" => Operator::In,
            "NotIn" => Operator::NotIn,
            "Exists" => Operator::Exists,
            "DoesNotExist" => Operator::DoesNotExist,
            other => {
                let other: String = other.chars().take(NAME).collect();
                return Err(format!("a selector has the operator {other:?}"));
            }
        };
        Ok(Requirement { key: expression.key, operator, values: expression.values })
    });
    equal.chain(expressions).collect::<Read<_>>().map(Selector)
}

#[cfg(test)]
mod tests;
