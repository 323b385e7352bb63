//! What is read from machines, and the machines a pool makes.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource as _, ResourceExt as _};
use serde_json::json;
use skep_api::labels::finalizer;
use skep_api::machine::{MachinePhase, MachineRepair};
use skep_api::{Cluster, Machine, MachineSpec, NodePool, labels};
use skep_kubeops::Key;
use skep_plan::node_pool::{Goal, Health, Member};

use crate::{Error, NAME};

/// Selector of a pool's machines.
pub fn selector(pool: &NodePool) -> String {
    format!("{}={},{}={}", labels::CLUSTER, pool.spec.cluster, labels::POOL, pool.name_any())
}

/// Whether a machine is this pool's: by its owner, because labels are anybody's.
pub fn is_of(pool: &NodePool, machine: &Machine) -> bool {
    let owner =
        machine.metadata.owner_references.iter().flatten().find(|owner| owner.controller == Some(true));
    machine.metadata.namespace == pool.metadata.namespace
        && owner.is_some_and(|owner| pool.metadata.uid.as_deref() == Some(owner.uid.as_str()))
}

/// Machines as decisions see them.
pub(super) fn members(machines: &[Arc<Machine>]) -> Vec<Member> {
    machines.iter().map(|machine| member(machine)).collect()
}

/// Those of some machines that are this pool's, as decisions see them: for printing a plan.
pub fn members_of(pool: &NodePool, machines: &[Machine]) -> Vec<Member> {
    machines.iter().filter(|machine| is_of(pool, machine)).map(member).collect()
}

/// A machine as decisions see it.
fn member(machine: &Machine) -> Member {
    let status = machine.status.as_ref();
    let health = match status.and_then(|status| status.phase) {
        Some(MachinePhase::Failed) => Health::Failed,
        Some(MachinePhase::Ready) => Health::Ready,
        _ => Health::NotReady,
    };
    let made = status.and_then(|status| status.template.as_ref());
    let changing = made.is_some_and(|made| !crate::machine::is_made_as(&machine.spec.template, made));
    let phase = status.and_then(|status| status.phase);
    let was_ready = matches!(
        phase,
        Some(MachinePhase::Ready | MachinePhase::NotReady | MachinePhase::Draining | MachinePhase::Deleting)
    );
    Member {
        name: machine.name_any(),
        zone: machine.spec.zone.clone(),
        template: machine.spec.template.clone(),
        created: machine.metadata.creation_timestamp.as_ref().map_or(Timestamp::UNIX_EPOCH, |time| time.0),
        health,
        leaving: machine.metadata.deletion_timestamp.is_some(),
        changing,
        untried: changing || !was_ready,
        unready: status.and_then(|status| Some(status.unready_since.as_ref()?.0)),
    }
}

/// Some names of many.
pub(super) fn some(names: &[String]) -> String {
    const NAMED: usize = 5;
    let listed = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => listed,
        more => format!("{listed} and {more} more"),
    }
}

/// Whether a machine has other rules for its pods than its pool. They are brought to it without touching its node.
pub(super) fn rules_differ(pool: &NodePool, machine: &Machine) -> bool {
    machine.metadata.deletion_timestamp.is_none() && machine.spec.drain != pool.spec.drain
}

/// A new machine.
pub(super) fn machine(pool: &NodePool, goal: &Goal, zone: &str, name: &str) -> Machine {
    let labels = [
        (labels::MANAGED_BY, labels::MANAGED_BY_SKEP.to_owned()),
        (labels::CLUSTER, pool.spec.cluster.clone()),
        (labels::POOL, pool.name_any()),
    ];
    let spec = MachineSpec {
        cluster: pool.spec.cluster.clone(),
        zone: zone.to_owned(),
        template: goal.template.clone(),
        drain: pool.spec.drain.clone(),
        repair: MachineRepair::AsPool,
    };
    let mut machine = Machine::new(name, spec);
    machine.metadata = ObjectMeta {
        name: Some(name.to_owned()),
        namespace: pool.namespace(),
        labels: Some(labels.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
        owner_references: Some(
            pool.controller_owner_ref(&())
                .map(|owner| OwnerReference { block_owner_deletion: Some(true), ..owner })
                .into_iter()
                .collect(),
        ),
        // The machine controller would add it before anything else.
        finalizers: Some(vec![finalizer::MACHINE.to_owned()]),
        ..ObjectMeta::default()
    };
    machine
}

/// Makes the cluster an owner of an object beside it, unless it is one.
///
/// # Errors
/// The hub refused or could not be reached.
pub(crate) async fn adopt<K>(client: &kube::Client, object: &K, cluster: &Cluster) -> Result<(), Error>
where
    K: skep_kubeops::Object + kube::Resource<Scope = kube::core::NamespaceResourceScope>,
{
    let uid = cluster.metadata.uid.clone().unwrap_or_default();
    if object.meta().owner_references.iter().flatten().any(|owner| owner.uid == uid) {
        return Ok(());
    }
    let owner = json!({
        "apiVersion": Cluster::api_version(&()), "kind": Cluster::kind(&()), "name": cluster.name_any(), "uid": uid,
        "blockOwnerDeletion": true,
    });
    // Nothing but this one reference: everything else of the object is its author's.
    let patch = json!({
        "apiVersion": K::api_version(&()), "kind": K::kind(&()),
        "metadata": {"uid": object.meta().uid, "ownerReferences": [owner]},
    });
    let key = Key::of(object);
    let api: Api<K> = Api::namespaced(client.clone(), key.namespace.as_deref().unwrap_or_default());
    match api.patch(&key.name, &PatchParams::apply(NAME).force(), &Patch::Apply(&patch)).await {
        Ok(_) => Ok(()),
        // Deleted meanwhile, or another one of its name: its own pass comes.
        Err(error)
            if skep_kubeops::error::is_not_found(&error) || skep_kubeops::error::is_conflict(&error) =>
        {
            Ok(())
        }
        Err(error) => Err(skep_kubeops::Error::api::<K>("adopt", key, error).into()),
    }
}
