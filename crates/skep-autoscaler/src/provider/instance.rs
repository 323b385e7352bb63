//! Machines as upstream's client sees them.

use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::machine::MachinePhase;
use skep_api::{Machine, NodePool};
use skep_node::OUT_OF_STOCK;

use crate::proto::provider::{
    ExternalGrpcNode, Instance, InstanceErrorInfo, InstanceState, InstanceStatus, OTHER_ERROR,
    OUT_OF_RESOURCES,
};

/// Before the id of a machine that its infrastructure has given none yet.
const UNMADE: &str = "skep-machine://";
/// Characters of a message that are passed on.
const MESSAGE: usize = 1024;

/// The instance's id: what its node will have as provider id. Until that is known, one of ours: the client takes it for an
/// instance that has not registered, and names it when it should go.
fn id(machine: &Machine) -> String {
    let given = machine.status.as_ref().and_then(|status| status.provider_id.clone());
    given.unwrap_or_else(|| unmade(machine))
}

fn unmade(machine: &Machine) -> String {
    format!("{UNMADE}{}/{}", machine.namespace().unwrap_or_default(), machine.name_any())
}

/// Whether a node is on this machine, or an instance without a node is this machine.
pub(super) fn is(machine: &Machine, node: &ExternalGrpcNode) -> bool {
    if node.provider_id == unmade(machine) {
        return true;
    }
    match machine.status.as_ref().and_then(|status| status.provider_id.as_deref()) {
        Some(given) if !node.provider_id.is_empty() => given == node.provider_id,
        // A node is called as its machine.
        _ => machine.name_any() == node.name,
    }
}

/// Whether a machine is on its way out.
pub(super) fn leaves(pool: &NodePool, machine: &Machine) -> bool {
    let named =
        pool.spec.scaling.as_ref().is_some_and(|scaling| scaling.remove.contains(&machine.name_any()));
    named || machine.metadata.deletion_timestamp.is_some()
}

pub(super) fn describe(pool: &NodePool, machine: &Machine) -> Instance {
    let phase = machine.status.as_ref().and_then(|status| status.phase);
    let state = match phase {
        _ if leaves(pool, machine) => InstanceState::Deleting,
        // Without a deletion the last two are a change in place.
        Some(
            MachinePhase::Ready | MachinePhase::NotReady | MachinePhase::Draining | MachinePhase::Deleting,
        ) => InstanceState::Running,
        Some(
            MachinePhase::Pending | MachinePhase::Provisioning | MachinePhase::Joining | MachinePhase::Failed,
        )
        | None => InstanceState::Creating,
    };
    let failed = state == InstanceState::Creating && phase == Some(MachinePhase::Failed);
    let error_info = failed.then(|| failure(machine));
    Instance { id: id(machine), status: Some(InstanceStatus { instance_state: state.into(), error_info }) }
}

/// Why a machine cannot be made, as its conditions say.
fn failure(machine: &Machine) -> InstanceErrorInfo {
    let conditions = machine.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said = condition::get(conditions, ConditionType::Ready);
    // Empty would mean that there is no error.
    let code = said.map(|said| said.reason.as_str()).filter(|reason| !reason.is_empty()).unwrap_or("Failed");
    let message = said.map(|said| said.message.chars().take(MESSAGE).collect()).unwrap_or_default();
    InstanceErrorInfo {
        error_code: code.to_owned(),
        error_message: message,
        instance_error_class: if code == OUT_OF_STOCK { OUT_OF_RESOURCES } else { OTHER_ERROR },
    }
}
