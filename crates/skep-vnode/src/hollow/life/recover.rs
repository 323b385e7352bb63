//! A life from the status that an earlier process reported.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::{BACKOFF, Cell, Life, Millis, Run, Stage, Stop};
use crate::hollow::fate::Fate;
use crate::hollow::spec::Spec;
use crate::pods::status::is_terminal;

impl Life {
    /// The life that a status tells of; a pod that no node has looked at begins at `now`. Fate gives runs the same ends as
    /// before, because it follows from the pod's name and the number of the run.
    pub fn recover(spec: &Spec, fate: &Fate<'_>, status: &PodStatus, now: Millis) -> Self {
        let Some(began) = millis(status.start_time.as_ref()) else { return Self::begin(spec, fate, now) };
        let told = |name: &str| {
            let lists = [&status.init_container_statuses, &status.container_statuses];
            lists.into_iter().flatten().flatten().find(|told| told.name == name)
        };
        // What has ended is never played again, whatever ended it; nothing starts again after its pod's time.
        let ended = is_terminal(status.phase.as_deref()).then_some(Stop::Deleted);
        let deadline = spec.deadline().map(|after| began.saturating_add(after)).filter(|end| *end <= now);
        let mut life = Self {
            began,
            cells: spec.parts().map(|part| told(&part.name).map(count).unwrap_or_default()).collect(),
            stop: ended.or(deadline.map(|_| Stop::Deadline)),
            closing: false,
        };
        for (index, part) in spec.parts().enumerate() {
            let Some(told) = told(&part.name) else { continue };
            if let Some(ended) = told.state.as_ref().and_then(|state| state.terminated.as_ref()) {
                life.end(spec, index, run(ended, now));
            } else if let Some(running) = told.state.as_ref().and_then(|state| state.running.as_ref()) {
                let since = millis(running.started_at.as_ref()).unwrap_or(now);
                let stage = life.run(spec, fate, index, since);
                // What follows from its start has followed: it must not begin anew at a time that is over.
                life.cells[index].stage = match stage {
                    Stage::Warming { since, up, ends }
                        if up <= now && ends.is_none_or(|(end, _)| up <= end) =>
                    {
                        Stage::Running { since, ready: life.ready(spec, fate, index, up), ends }
                    }
                    stage => stage,
                };
            } else if life.cells[index].last.is_some() {
                life.cells[index].stage =
                    Stage::Waiting { until: now + Millis::from(life.cells[index].delay) };
            }
        }
        match (ended, deadline) {
            (Some(_), _) => life.cells.iter_mut().for_each(|cell| cell.stop(now, 0)),
            (None, Some(end)) => life.stop(fate, end, spec.grace(), Stop::Deadline),
            (None, None) => {}
        }
        life.settle(spec, fate, now);
        life
    }
}

/// What the status counts.
fn count(told: &ContainerStatus) -> Cell {
    let restarts = u32::try_from(told.restart_count).unwrap_or_default();
    let last = told.last_state.as_ref().and_then(|state: &ContainerState| state.terminated.as_ref());
    Cell {
        stage: Stage::Idle,
        restarts,
        last: last.map(|ended| run(ended, 0)),
        delay: if last.is_some() { u32::try_from(BACKOFF).unwrap_or_default() } else { 0 },
    }
}

fn run(ended: &ContainerStateTerminated, now: Millis) -> Run {
    let end = millis(ended.finished_at.as_ref()).unwrap_or(now);
    Run { began: millis(ended.started_at.as_ref()).unwrap_or(end), ended: end, code: ended.exit_code }
}

fn millis(time: Option<&Time>) -> Option<Millis> {
    Some(time?.0.as_millisecond())
}
