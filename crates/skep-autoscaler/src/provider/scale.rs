//! Pure: what a pool's size becomes. Which machines go is said in the same change, so it can neither be lost nor done twice:
//! whoever is named is named already when the same call comes again.

use std::collections::BTreeSet;

use kube::ResourceExt as _;
use skep_api::machine::MachinePhase;
use skep_api::{Machine, NodePool, labels};
use skep_node::pool::is_of;
use skep_plan::node_pool::replicas;

use super::instance::{self, leaves};
use crate::Error;
use crate::hub::Change;
use crate::proto::provider::ExternalGrpcNode;

/// Machines that may be named at once (`maxItems` of `spec.scaling.remove`).
const NAMED: usize = 256;
/// Nodes of one call; upstream deletes ten at a time (`--max-scale-down-parallelism`).
const NODES: usize = 256;

/// Bounds of a pool.
pub(super) fn bounds(pool: &NodePool) -> (i32, i32) {
    pool.spec.scaling.as_ref().map_or((0, 0), |scaling| (scaling.min, scaling.max))
}

/// `delta` more.
pub(super) fn increase(pool: &NodePool, machines: &[Machine], delta: i32) -> Result<Option<Change>, Error> {
    if delta <= 0 {
        return Err(Error::Request(format!("a size is increased by at least 1, not by {delta}")));
    }
    let replicas = within(pool, size(pool) + i64::from(delta))?;
    Ok(Some(Change { replicas, remove: named(pool, machines, Vec::new())? }))
}

/// `-delta` fewer of those that have not become nodes. They are named, or the pool would choose by itself.
pub(super) fn decrease(pool: &NodePool, machines: &[Machine], delta: i32) -> Result<Option<Change>, Error> {
    if delta >= 0 {
        return Err(Error::Request(format!("a size is decreased by a negative delta, not by {delta}")));
    }
    let wanted = size(pool) + i64::from(delta);
    let staying = machines.iter().filter(|machine| is_of(pool, machine) && !leaves(pool, machine));
    let has_node = |machine: &&Machine| machine.status.as_ref().is_some_and(|status| status.node.is_some());
    let (joined, mut unmade): (Vec<&Machine>, Vec<&Machine>) = staying.partition(has_node);
    if count(joined.len()) > wanted {
        return Err(Error::WouldDelete { pool: pool.name_any(), joined: joined.len(), wanted });
    }
    let replicas = within(pool, wanted)?;
    // Those that are furthest from becoming a node first.
    unmade.sort_by_key(|machine| match machine.status.as_ref().and_then(|status| status.phase) {
        Some(MachinePhase::Failed) => 0,
        Some(MachinePhase::Pending) | None => 1,
        Some(MachinePhase::Provisioning) => 2,
        _ => 3,
    });
    let surplus = count(joined.len() + unmade.len()) - wanted;
    unmade.truncate(usize::try_from(surplus).unwrap_or(0));
    let chosen = unmade.into_iter().map(|machine| machine.name_any()).collect();
    Ok(Some(Change { replicas, remove: named(pool, machines, chosen)? }))
}

/// Exactly these nodes go. Those that are on their way already, or gone, were counted then.
pub(super) fn delete(
    pool: &NodePool,
    machines: &[Machine],
    nodes: &[ExternalGrpcNode],
) -> Result<Option<Change>, Error> {
    if nodes.len() > NODES {
        return Err(Error::Request(format!("{} nodes are named, and {NODES} may be", nodes.len())));
    }
    let mut chosen = BTreeSet::new();
    for node in nodes {
        match machines.iter().find(|machine| instance::is(machine, node)) {
            Some(machine) if !is_of(pool, machine) => return Err(foreign(pool, node)),
            Some(machine) if leaves(pool, machine) => {}
            Some(machine) => drop(chosen.insert(machine.name_any())),
            None if was_of(pool, node) => {}
            None => return Err(foreign(pool, node)),
        }
    }
    if chosen.is_empty() {
        return Ok(None);
    }
    let replicas = within(pool, size(pool) - count(chosen.len()))?;
    Ok(Some(Change { replicas, remove: named(pool, machines, chosen.into_iter().collect())? }))
}

/// Whether a node without a machine says that it was this pool's. One that the client has made up itself, for an instance
/// that never registered, has no labels and is called as its id.
fn was_of(pool: &NodePool, node: &ExternalGrpcNode) -> bool {
    let says = node.labels.get(labels::POOL).is_some_and(|name| *name == pool.name_any());
    says || (node.labels.is_empty() && node.name == node.provider_id)
}

fn foreign(pool: &NodePool, node: &ExternalGrpcNode) -> Error {
    Error::ForeignNode { node: node.name.chars().take(253).collect(), pool: pool.name_any() }
}

/// Those that were named before and are still there, and these.
fn named(pool: &NodePool, machines: &[Machine], chosen: Vec<String>) -> Result<Vec<String>, Error> {
    let old = pool.spec.scaling.iter().flat_map(|scaling| &scaling.remove);
    let there = |name: &&String| machines.iter().any(|machine| machine.name_any() == **name);
    let names: Vec<String> = old.filter(there).cloned().chain(chosen).collect();
    match names.len() > NAMED {
        true => Err(Error::TooManyLeaving { pool: pool.name_any(), most: NAMED }),
        false => Ok(names),
    }
}

fn size(pool: &NodePool) -> i64 {
    count(replicas(&pool.spec))
}

fn count(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn within(pool: &NodePool, wanted: i64) -> Result<i32, Error> {
    let (min, max) = bounds(pool);
    let fits = i32::try_from(wanted).ok().filter(|wanted| (min..=max).contains(wanted));
    fits.ok_or_else(|| Error::OutOfBounds { pool: pool.name_any(), wanted, min, max })
}

#[cfg(test)]
mod tests;
