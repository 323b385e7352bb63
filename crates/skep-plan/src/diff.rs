//! What a change of a control plane does, before it is done.
//!
//! [`diff`] compares two resolved specs field by field and derives, from one table of effects, which programs restart,
//! which roll surge-first, in which order, for which reasons and what each step waits for. The result is plain data:
//! printed by `skep plan`, compared in tests.
//!
//! Refuses nothing: what must not change is refused by [`crate::resolve()`] and by the schema.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use skep_api::ControlPlaneSpec;

use crate::flags::Program;

mod fields;
mod render;

/// A field that changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Change {
    /// Path in `ControlPlane.spec`; elements of lists by name: `apiServer.flags[v]`.
    pub field: String,
    /// Value now; `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Value afterwards; `None` when there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What happens to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Action {
    /// Nothing stops: certificates and kubeconfigs are written anew and read again by whoever uses them.
    Reissue,
    /// The number of copies changes; those that stay are not touched.
    Scale,
    /// A new copy has to serve before an old one is stopped: no request through the gateway fails.
    Roll,
    /// The one copy is stopped and started again: controllers pause for seconds, the API serves on.
    Restart,
    /// It is started for the first time.
    Create,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// The program.
    pub program: Program,
    /// What happens to it.
    pub action: Action,
    /// Copies afterwards.
    pub copies: i32,
    /// Fields that make it necessary; empty at creation.
    pub because: Vec<String>,
    /// What has to be true before the step begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waits_for: Option<String>,
}

/// Everything that a change does.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// Fields that change, in the order of the spec.
    pub changes: Vec<Change>,
    /// Steps in the order they happen. Empty when nothing that runs is touched.
    pub steps: Vec<Step>,
    /// The cluster is paused: nothing happens until it is not.
    pub paused: bool,
}

impl Plan {
    /// Whether it changes anything at all.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
    }

    /// Whether a running program stops.
    pub fn restarts_anything(&self) -> bool {
        self.steps.iter().any(|step| matches!(step.action, Action::Roll | Action::Restart))
    }
}

/// The plan from `old` (`None`: the control plane does not exist yet) to `new`.
pub fn diff(old: Option<&ControlPlaneSpec>, new: &ControlPlaneSpec) -> Plan {
    let paused = fields::is_paused(new);
    let changes = changes(old, new);
    let Some(old) = old else {
        let create = |program| Step {
            program,
            action: Action::Create,
            copies: copies(new, program),
            because: Vec::new(),
            waits_for: None,
        };
        return Plan { changes, steps: Program::ALL.map(create).to_vec(), paused };
    };
    let steps = Program::ALL.into_iter().filter_map(|program| step(program, &changes, old, new)).collect();
    Plan { changes, steps, paused }
}

fn step(
    program: Program,
    changes: &[Change],
    old: &ControlPlaneSpec,
    new: &ControlPlaneSpec,
) -> Option<Step> {
    let (before, after) = (copies(old, program), copies(new, program));
    let touching: Vec<(&Change, fields::Touch)> = changes
        .iter()
        .filter_map(|change| Some((change, fields::touches(&change.field, program)?)))
        .collect();
    let strongest = touching.iter().map(|(_, touch)| *touch).max()?;
    let action = match (program, strongest) {
        (_, fields::Touch::Reissue) => Action::Reissue,
        (Program::KubeApiserver, fields::Touch::Copies) => Action::Scale,
        // A single controller runs without leader election; a second one needs it in both.
        (_, fields::Touch::Copies) if before == 1 || after == 1 => Action::Restart,
        (_, fields::Touch::Copies) => Action::Scale,
        (Program::KubeApiserver, fields::Touch::Template) => Action::Roll,
        (_, fields::Touch::Template) if before > 1 && after > 1 => Action::Roll,
        (_, fields::Touch::Template) => Action::Restart,
    };
    let waits = program != Program::KubeApiserver && old.version != new.version;
    Some(Step {
        program,
        action,
        copies: after,
        because: touching.into_iter().map(|(change, _)| change.field.clone()).collect(),
        waits_for: waits.then(|| format!("every copy of kube-apiserver runs {}", new.version)),
    })
}

fn copies(spec: &ControlPlaneSpec, program: Program) -> i32 {
    match program {
        Program::KubeApiserver => spec.api_server.replicas,
        Program::KubeControllerManager => spec.controller_manager.replicas,
        Program::KubeScheduler => spec.scheduler.replicas,
    }
}

fn changes(old: Option<&ControlPlaneSpec>, new: &ControlPlaneSpec) -> Vec<Change> {
    let flat = |spec: Option<&ControlPlaneSpec>| {
        fields::flatten(&spec.and_then(|spec| serde_json::to_value(spec).ok()).unwrap_or(Value::Null))
    };
    let (old, new) = (flat(old), flat(Some(new)));
    let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
    names.sort();
    names.dedup();
    names
        .into_iter()
        .filter(|name| old.get(*name) != new.get(*name))
        .map(|name| Change { field: name.clone(), from: old.get(name).cloned(), to: new.get(name).cloned() })
        .collect()
}

#[cfg(test)]
mod tests;
