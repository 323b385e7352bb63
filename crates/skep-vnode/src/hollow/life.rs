//! The life of a hollow pod. Pure: it knows the time only as it is told.
//!
//! Things happen at the times that the pod's fate gives them, not when somebody looks: advancing in one step or in many gives
//! the same life. A life that is forgotten (a new process) is found again in the status that was reported.

mod cell;
mod recover;
#[cfg(test)]
mod tests;

pub use cell::{Cell, Run, Stage};

use super::fate::{Fate, START_FAILED};
use super::spec::{Role, Spec};

/// Milliseconds since 1970.
pub type Millis = i64;

/// Exit code of what is killed (128 + SIGKILL).
const KILLED: i32 = 137;
/// Exit code of what was running when its node restarted, as kubelets report it.
const LOST: i32 = 255;
/// Back-off between runs as the kubelet's: none before the first restart, then doubling; forgotten after a long good run.
const BACKOFF: Millis = 10_000;
const BACKOFF_LONGEST: Millis = 300_000;
const BACKOFF_FORGET: Millis = 600_000;

/// Where a pod is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Life {
    began: Millis,
    cells: Box<[Cell]>,
    stop: Option<Stop>,
    /// All containers have ended, and sidecars are told to.
    closing: bool,
}

/// Why a pod was stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Somebody deleted it.
    Deleted,
    /// Its time was over (`activeDeadlineSeconds`).
    Deadline,
}

impl Life {
    /// A pod that its node takes at `began`.
    pub fn begin(spec: &Spec, fate: &Fate<'_>, began: Millis) -> Self {
        let cells = spec.parts().map(|_| Cell::default()).collect();
        let mut life = Self { began, cells, stop: None, closing: false };
        life.settle(spec, fate, began);
        life
    }

    /// When its node took it.
    pub fn began(&self) -> Millis {
        self.began
    }

    /// Its containers in the spec's order.
    pub fn cells(&self) -> &[Cell] {
        &self.cells
    }

    /// Why it was stopped, if it was.
    pub fn stopped(&self) -> Option<Stop> {
        self.stop
    }

    /// Whether anything of it runs.
    pub fn runs(&self) -> bool {
        self.cells.iter().any(Cell::runs)
    }

    /// Lets everything happen that happens until `now`; says when to look again, if ever.
    pub fn advance(&mut self, spec: &Spec, fate: &Fate<'_>, now: Millis) -> Option<Millis> {
        loop {
            let cell =
                self.cells.iter().enumerate().filter_map(|(index, cell)| Some((cell.due()?, index))).min();
            let deadline = spec.deadline().filter(|_| self.stop.is_none() && !self.is_over());
            let deadline = deadline.map(|after| self.began.saturating_add(after));
            match (cell, deadline) {
                (Some((at, index)), end) if at <= now && end.is_none_or(|end| at <= end) => {
                    self.happen(spec, fate, index, at);
                }
                (_, Some(end)) if end <= now => self.stop(fate, end, spec.grace(), Stop::Deadline),
                (cell, end) => {
                    let seen = self.cells.iter().filter_map(|cell| cell.turns_ready(now));
                    return seen.chain(cell.map(|(at, _)| at)).chain(end).min();
                }
            }
        }
    }

    /// Nothing of it will ever run again.
    pub fn is_over(&self) -> bool {
        self.cells.iter().all(|cell| matches!(cell.stage, Stage::Ended(_) | Stage::Never))
    }

    /// Stops it at `at`: what takes longer than `grace` is killed. Asked again with less time, it gets less.
    pub fn stop(&mut self, fate: &Fate<'_>, at: Millis, grace: Millis, why: Stop) {
        self.stop.get_or_insert(why);
        for (index, cell) in self.cells.iter_mut().enumerate() {
            let needs = fate.stop(index);
            let (after, code) = if needs > grace { (grace, KILLED) } else { (needs, 0) };
            cell.stop(at.saturating_add(after), code);
        }
    }

    /// Everything that runs ends at once, as when the machine is switched off and on. What may starts again.
    pub fn crash(&mut self, spec: &Spec, fate: &Fate<'_>, at: Millis) {
        for index in 0..self.cells.len() {
            if let Some(began) = self.cells[index].running_since() {
                self.end(spec, index, Run { began, ended: at.max(began), code: LOST });
            }
        }
        self.settle(spec, fate, at);
    }

    /// What is due at `at` happens to one container, and what follows from it to the others.
    fn happen(&mut self, spec: &Spec, fate: &Fate<'_>, index: usize, at: Millis) {
        let restarts = self.cells[index].restarts;
        match self.cells[index].stage {
            Stage::Pulling { .. } => {
                self.cells[index].stage = Stage::Creating { until: at + fate.start(index, restarts) };
            }
            Stage::Creating { .. } if fate.start_fails(index, restarts) => {
                self.end(spec, index, Run { began: at, ended: at, code: START_FAILED });
            }
            Stage::Creating { .. } => {
                self.cells[index].stage = self.run(spec, fate, index, at);
            }
            Stage::Warming { since, up, ends } if ends.is_none_or(|(end, _)| up <= end) => {
                self.cells[index].stage =
                    Stage::Running { since, ready: self.ready(spec, fate, index, up), ends };
            }
            Stage::Warming { since, ends: Some((_, code)), .. }
            | Stage::Running { since, ends: Some((_, code)), .. } => {
                self.end(spec, index, Run { began: since, ended: at, code });
            }
            Stage::Waiting { .. } => {
                let cell = &mut self.cells[index];
                cell.restarts = restarts.saturating_add(1);
                cell.stage = Stage::Creating { until: at + fate.start(index, cell.restarts) };
            }
            // Nothing is due for these.
            Stage::Warming { .. } | Stage::Running { .. } | Stage::Idle | Stage::Never | Stage::Ended(_) => {}
        }
        self.settle(spec, fate, at);
    }

    /// A container that starts at `at`.
    fn run(&self, spec: &Spec, fate: &Fate<'_>, index: usize, at: Millis) -> Stage {
        let restarts = self.cells[index].restarts;
        let ends = match spec.role(index) {
            Role::Init => Some(fate.init_ends(index, restarts)),
            Role::Sidecar => fate.ends(false, index, restarts),
            Role::Main => fate.ends(spec.ends(), index, restarts),
        };
        let ends = ends.map(|(after, code)| (at.saturating_add(after), code));
        let up = spec.part(index).map_or(0, |part| fate.startup(part, index, restarts));
        Stage::Warming { since: at, up: at.saturating_add(up), ends }
    }

    fn ready(&self, spec: &Spec, fate: &Fate<'_>, index: usize, up: Millis) -> Option<Millis> {
        let after = fate.ready(spec.part(index)?, index, self.cells[index].restarts)?;
        Some(up.saturating_add(after))
    }

    /// A run is over: it is repeated after a while, or was the last.
    fn end(&mut self, spec: &Spec, index: usize, run: Run) {
        let stays = self.stop.is_some() || (self.closing && spec.role(index) == Role::Sidecar);
        let again = !stays && spec.restarts(index, run.code);
        let cell = &mut self.cells[index];
        if !again {
            cell.stage = Stage::Ended(run);
            return;
        }
        if run.ended - run.began > BACKOFF_FORGET {
            cell.delay = 0;
        }
        let delay = Millis::from(cell.delay);
        let next = if delay == 0 { BACKOFF } else { (delay * 2).min(BACKOFF_LONGEST) };
        cell.delay = u32::try_from(next).unwrap_or(u32::MAX);
        cell.last = Some(run);
        cell.stage = Stage::Waiting { until: run.ended + delay };
    }

    /// Starts what may start now, and ends what has nothing left to do.
    fn settle(&mut self, spec: &Spec, fate: &Fate<'_>, at: Millis) {
        if self.stop.is_some() {
            return;
        }
        for index in 0..self.cells.len() {
            let role = spec.role(index);
            let cell = &mut self.cells[index];
            if cell.stage == Stage::Idle {
                cell.stage = Stage::Pulling { until: at + fate.pull(index) };
            }
            let done = match (role, cell.stage) {
                (Role::Init, Stage::Ended(run)) if run.code != 0 => {
                    self.give_up(index);
                    return;
                }
                (Role::Init, Stage::Ended(_)) | (Role::Main, _) => true,
                // A sidecar that has started once does not hold the others up when it restarts.
                (Role::Sidecar, Stage::Running { .. } | Stage::Ended(_)) => true,
                (Role::Sidecar, _) => cell.last.is_some(),
                (Role::Init, _) => false,
            };
            if !done {
                return;
            }
        }
        let main = self.cells.iter().skip(spec.inits());
        if main.clone().count() > 0 && main.clone().all(|cell| matches!(cell.stage, Stage::Ended(_))) {
            self.closing = true;
            for (index, cell) in self.cells.iter_mut().enumerate().take(spec.inits()) {
                cell.stop(at.saturating_add(fate.stop(index)), 0);
            }
        }
    }

    /// An init container failed for good: what comes after never runs, and sidecars before end.
    fn give_up(&mut self, failed: usize) {
        self.closing = true;
        let Stage::Ended(Run { ended, .. }) = self.cells[failed].stage else { return };
        for cell in &mut self.cells {
            cell.stop(ended, 0);
        }
    }
}
