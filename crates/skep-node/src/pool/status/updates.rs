//! What people see of an update that is tried, and of one that was stopped.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt as _;
use skep_api::condition::{self, ConditionType};
use skep_api::node_pool::StoppedUpdate;
use skep_api::{Machine, NodePool, NodePoolStatus, NodeTemplate};
use skep_plan::node_pool::{Course, Trial};

use super::super::{Planned, build};

/// Longest message of a machine that is repeated.
const LONGEST: usize = 300;

/// What the status remembers of it.
pub(super) fn keep(status: &mut NodePoolStatus, pool: &NodePool, planned: &Planned, now: &Time) {
    match (&planned.course, &planned.trial) {
        (Course::Ahead(goal), Trial::Failed(machines)) => {
            let attempt = pool.spec.update.attempt;
            status.stopped = Some(Trial::stop(goal, attempt, machines.clone(), now.0));
        }
        (Course::Ahead(goal), Trial::Healthy) => {
            status.healthy_template = Some(goal.template.clone());
            status.stopped = None;
        }
        // Something else is tried.
        (Course::Ahead(_), Trial::Open(_)) => status.stopped = None,
        (Course::Back(_) | Course::Held(..), _) => {}
    }
}

/// Whether the spec is fulfilled, as far as machines are as it says.
pub(super) fn is_fulfilled(planned: &Planned) -> bool {
    let ahead = matches!(planned.course, Course::Ahead(_)) && !matches!(planned.trial, Trial::Failed(_));
    ahead && planned.plan.is_settled()
}

/// Reason and message for an update that does not go on.
pub(super) fn words(
    planned: &Planned,
    stopped: Option<&StoppedUpdate>,
    machines: &[Arc<Machine>],
) -> Option<(&'static str, String)> {
    let stopped = stopped?;
    let again = "correct the template, or raise update.attempt to try it again (SKEP-8067)";
    let (reason, rest) = match (&planned.course, &planned.trial) {
        (Course::Ahead(_), Trial::Failed(_)) => (condition::UPDATE_STOPPED, again.to_owned()),
        (Course::Ahead(_), _) => return None,
        (Course::Held(_, why), _) => (
            condition::UPDATE_STOPPED,
            format!("there is no way back ({why}), so all stay as they are; {again}"),
        ),
        (Course::Back(goal), _) => {
            let back = what(&goal.template, &stopped.template);
            if planned.plan.is_settled() {
                (
                    condition::UPDATE_STOPPED,
                    format!("those that were not healthy are as before, {back}; {again}"),
                )
            } else {
                let steps = super::steps(&planned.plan);
                ("RollingBack", format!("those that are not healthy go back to {back}: {steps}; {again}"))
            }
        }
    };
    let tried = match &planned.course {
        Course::Back(goal) => what(&stopped.template, &goal.template),
        Course::Ahead(_) | Course::Held(..) => version(&stopped.template),
    };
    let why = why(&stopped.machines, machines);
    let names = build::some(&stopped.machines);
    Some((
        reason,
        format!("the update to {tried} was stopped: {names} did not become healthy in time{why}; {rest}"),
    ))
}

/// A template by what tells it from another one.
fn what(template: &NodeTemplate, other: &NodeTemplate) -> String {
    if template.version == other.version { "the other template".to_owned() } else { version(template) }
}

fn version(template: &NodeTemplate) -> String {
    template.version.clone().unwrap_or_else(|| "the template".to_owned())
}

/// What the first of them says about itself, as long as it is there.
fn why(names: &[String], machines: &[Arc<Machine>]) -> String {
    let said = names.iter().find_map(|name| {
        let machine = machines.iter().find(|machine| machine.name_any() == *name)?;
        let ready = condition::get(&machine.status.as_ref()?.conditions, ConditionType::Ready)?;
        (ready.status != "True").then(|| ready.message.chars().take(LONGEST).collect::<String>())
    });
    said.map(|said| format!(" ({said})")).unwrap_or_default()
}
