//! One container of a hollow pod.

use super::Millis;

/// A container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it does.
    pub stage: Stage,
    /// How often it was started again.
    pub restarts: u32,
    /// The run before, of one that was started again or will be.
    pub last: Option<Run>,
    /// Pause before the next restart, in milliseconds.
    pub delay: u32,
}

/// What a container does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Something has to happen before it.
    #[default]
    Idle,
    /// Its image is being pulled.
    Pulling {
        /// Until when.
        until: Millis,
    },
    /// It is being started.
    Creating {
        /// Until when.
        until: Millis,
    },
    /// It runs and does not count as started yet.
    Warming {
        /// Since when.
        since: Millis,
        /// When it does.
        up: Millis,
        /// When it ends by itself or because it was told to, and with which code.
        ends: Option<(Millis, i32)>,
    },
    /// It runs.
    Running {
        /// Since when.
        since: Millis,
        /// From when on it is ready, if ever.
        ready: Option<Millis>,
        /// As above.
        ends: Option<(Millis, i32)>,
    },
    /// It will be started again.
    Waiting {
        /// When.
        until: Millis,
    },
    /// It has ended for good.
    Ended(Run),
    /// It never ran and never will.
    Never,
}

/// A run that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its start.
    pub began: Millis,
    /// Its end.
    pub ended: Millis,
    /// Its exit code.
    pub code: i32,
}

impl Cell {
    /// When something happens to it next.
    pub fn due(&self) -> Option<Millis> {
        match self.stage {
            Stage::Pulling { until } | Stage::Creating { until } | Stage::Waiting { until } => Some(until),
            Stage::Warming { up, ends, .. } => Some(ends.map_or(up, |(end, _)| end.min(up))),
            Stage::Running { ends, .. } => ends.map(|(end, _)| end),
            Stage::Idle | Stage::Ended(_) | Stage::Never => None,
        }
    }

    /// When it becomes ready, if that is after `now`.
    pub fn turns_ready(&self, now: Millis) -> Option<Millis> {
        match self.stage {
            Stage::Running { ready: Some(ready), .. } if ready > now => Some(ready),
            _ => None,
        }
    }

    /// Since when it runs, if it does.
    pub fn running_since(&self) -> Option<Millis> {
        match self.stage {
            Stage::Warming { since, .. } | Stage::Running { since, .. } => Some(since),
            _ => None,
        }
    }

    /// Whether it runs.
    pub fn runs(&self) -> bool {
        self.running_since().is_some()
    }

    /// It ends at `at` at the latest; what does not run is not started any more.
    pub(super) fn stop(&mut self, at: Millis, code: i32) {
        match &mut self.stage {
            Stage::Warming { ends, .. } | Stage::Running { ends, .. } => {
                if ends.is_none_or(|(end, _)| end > at) {
                    *ends = Some((at, code));
                }
            }
            Stage::Idle | Stage::Pulling { .. } | Stage::Creating { .. } | Stage::Waiting { .. } => {
                self.stage = self.last.take().map_or(Stage::Never, Stage::Ended);
            }
            Stage::Ended(_) | Stage::Never => {}
        }
    }
}
