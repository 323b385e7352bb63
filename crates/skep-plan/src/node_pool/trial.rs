//! A changed template is tried: it becomes the healthy one, or its update is stopped and what is not healthy goes back.
//!
//! An update goes no further than its surge while new machines are not ready; what is here ends the waiting. Machines that
//! did become healthy keep what they are: to take it from them would cost their pods another move and gain nothing.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use skep_api::node_pool::{StoppedUpdate, UpdateStrategy};
use skep_api::{NodePoolSpec, NodePoolStatus, NodeTemplate};

use super::goal::is_as;
use super::{Facts, Goal, Member, Tried, Unresolved, resolve};

/// Most machines that are named as going back.
const NAMED: usize = 100;

/// Where a pool is led.
#[derive(Debug, Clone, PartialEq)]
pub enum Course {
    /// To what its spec says.
    Ahead(Goal),
    /// What its spec says has failed: back to what was healthy before.
    Back(Goal),
    /// It has failed, and what was before cannot be made any more, as the sentence says: everything stays as it is.
    Held(Goal, String),
}

impl Course {
    /// The goal.
    pub fn goal(&self) -> &Goal {
        match self {
            Self::Ahead(goal) | Self::Back(goal) | Self::Held(goal, _) => goal,
        }
    }
}

/// How far a changed template is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trial {
    /// Every machine has been healthy with it.
    Healthy,
    /// Not decided; the time is when to look again although nothing has happened.
    Open(Option<Timestamp>),
    /// These machines were not healthy in time.
    Failed(Vec<String>),
}

/// What a pool should be, given what was tried before.
///
/// # Errors
/// As [`resolve`].
pub fn steer(
    spec: &NodePoolSpec,
    status: Option<&NodePoolStatus>,
    facts: &Facts,
) -> Result<Course, Unresolved> {
    let goal = resolve(spec, facts)?;
    let Some(stopped) = status.and_then(|status| status.stopped.as_ref()) else {
        return Ok(Course::Ahead(goal));
    };
    if stopped.attempt != spec.update.attempt || stopped.template != goal.template {
        return Ok(Course::Ahead(goal));
    }
    let tried = Some(Tried { template: stopped.template.clone(), back: stopped.machines.clone() });
    let healthy = status.and_then(|status| status.healthy_template.as_ref());
    let before = match healthy {
        None => Err("no template was healthy before".to_owned()),
        Some(template) => {
            let before = NodePoolSpec { template: template.clone(), ..spec.clone() };
            resolve(&before, facts).map_err(|why| match why {
                Unresolved::Refused(refused) => refused.to_string(),
                Unresolved::Waits(why) => why,
            })
        }
    };
    Ok(match before {
        Ok(before) => Course::Back(Goal { tried, ..before }),
        Err(why) => Course::Held(Goal { strategy: UpdateStrategy::OnDelete, ..goal }, why),
    })
}

/// Judges the goal's template by the machines that have it. `healthy` is the last template that was; before there is one,
/// nothing is tried. `seen` is since when the machines' states are known without a gap, if they are.
pub fn trial(
    goal: &Goal,
    healthy: Option<&NodeTemplate>,
    members: &[Member],
    seen: Option<Timestamp>,
    deadline: Duration,
    now: Timestamp,
) -> Trial {
    let live = || members.iter().filter(|member| !member.leaving);
    let has_it = |member: &Member| is_as(&member.template, &goal.template);
    if live().count() > 0 && live().all(|member| has_it(member) && !member.untried && !member.changing) {
        return Trial::Healthy;
    }
    let is_new = healthy.is_some_and(|healthy| *healthy != goal.template);
    let Some(seen) = seen.filter(|_| is_new) else { return Trial::Open(None) };
    let due = |member: &Member| {
        let since = member.unready?.max(seen);
        Some(since.checked_add(deadline).unwrap_or(Timestamp::MAX))
    };
    let tried: Vec<&Member> = live().filter(|member| has_it(member)).collect();
    let late: Vec<&Member> =
        tried.iter().copied().filter(|member| due(member).is_some_and(|due| due <= now)).collect();
    // One that never came is enough. One that came and went may just be broken: repair's, unless it is most of them.
    let failed =
        late.iter().any(|member| member.untried) || !late.is_empty() && late.len() * 2 >= tried.len();
    if failed {
        let mut names: Vec<String> = late.iter().map(|member| member.name.clone()).collect();
        names.sort();
        names.truncate(NAMED);
        return Trial::Failed(names);
    }
    Trial::Open(tried.iter().filter_map(|member| due(member)).filter(|due| *due > now).min())
}

impl Trial {
    /// What is kept of an update that has failed.
    pub fn stop(goal: &Goal, attempt: i32, machines: Vec<String>, now: Timestamp) -> StoppedUpdate {
        // Times of objects have seconds.
        let at = Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
        StoppedUpdate { template: goal.template.clone(), attempt, at, machines }
    }
}
