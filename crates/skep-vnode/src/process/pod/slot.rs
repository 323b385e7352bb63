//! A container as the worker of its pod sees it.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ResourceRequirements;
use tokio::sync::watch;
use tokio::task::Id;

use super::Place;
use super::attempt::Refusal;
use super::backoff::Backoff;
use super::cell::{Cell, Order};
use super::plan::Standing;
use super::record::Ended;
use crate::process::config::Timings;

/// Waiting for something, as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    pub reason: &'static str,
    pub message: Option<String>,
    /// From when on it is shown as something else.
    pub later: Option<(Timestamp, &'static str, String)>,
    /// When the next try is made; none: when something changes.
    pub retry_at: Option<Timestamp>,
    /// The last try got no process: what is missing may come, so another try is not a restart.
    pub refused: bool,
}

impl Waiting {
    pub(super) fn plain(reason: &'static str) -> Self {
        Self { reason, message: None, later: None, retry_at: None, refused: false }
    }

    /// Reason and message at a time.
    pub(super) fn shown(&self, now: Timestamp) -> (&'static str, Option<&str>) {
        match &self.later {
            Some((from, reason, message)) if *from <= now => (reason, Some(message)),
            _ => (self.reason, self.message.as_deref()),
        }
    }

    /// The next time at which it looks different or something is to be done.
    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let later = self.later.as_ref().map(|(at, ..)| *at).filter(|at| *at > now);
        [later, self.retry_at].into_iter().flatten().min()
    }
}

/// What a container is doing.
pub(super) enum Now {
    /// Has no process, and did not get one the last time that was tried.
    Idle,
    /// An attempt is under way, in this job of the worker.
    Busy { cell: Arc<Cell>, order: watch::Sender<Option<Order>>, job: Id },
    /// The last attempt has ended.
    Ended(Ended),
}

/// One container of a pod.
pub(super) struct Slot {
    pub place: Place,
    pub name: String,
    pub now: Now,
    /// What is waited for, while nothing runs.
    pub waiting: Option<Waiting>,
    /// How the run before the present state ended.
    pub last: Option<Ended>,
    /// Number of the next attempt.
    pub attempts: u32,
    pub backoff: Backoff,
    pub image_backoff: Backoff,
    /// Image of the present run, as in the spec.
    pub image: String,
    /// Resources the present run has.
    pub resources: Option<ResourceRequirements>,
    /// To be started again whatever the policy says.
    pub forced: bool,
}

impl Slot {
    pub(super) fn new(place: Place, name: String) -> Self {
        Self {
            place,
            name,
            now: Now::Idle,
            waiting: None,
            last: None,
            attempts: 0,
            backoff: Backoff::default(),
            image_backoff: Backoff::default(),
            image: String::new(),
            resources: None,
            forced: false,
        }
    }

    pub(super) fn standing(&self, sandbox: &str) -> Standing {
        match &self.now {
            Now::Idle => Standing::Fresh,
            Now::Busy { cell, .. } => Standing::Busy { started: cell.running().is_some_and(|r| r.started) },
            Now::Ended(ended) => Standing::Ended {
                exit_code: ended.exit_code,
                earlier: ended.sandbox != sandbox,
                forced: self.forced,
            },
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        matches!(self.now, Now::Busy { .. })
    }

    /// How often a container was created again.
    pub(super) fn restarts(&self) -> i32 {
        i32::try_from(self.attempts.saturating_sub(1)).unwrap_or(i32::MAX)
    }

    /// Whether it may be started now; if not, it is shown as waiting for that.
    pub(super) fn may_start(&mut self, sandbox: &str, pod: &str, now: Timestamp, timings: &Timings) -> bool {
        if let Some(waiting) = self.waiting.as_ref().filter(|w| w.refused) {
            return waiting.retry_at.is_none_or(|at| at <= now);
        }
        let Now::Ended(ended) = &self.now else { return true };
        if ended.sandbox != sandbox || self.forced {
            return true;
        }
        // Bounded, so that a clock that was set back makes nobody wait for ever.
        let until = self
            .backoff
            .until(ended.finished_at, timings)
            .map(|u| u.min(now + span(timings.backoff_longest)));
        let Some(until) = until.filter(|until| *until > now) else {
            self.backoff.advance(ended.finished_at, now, timings);
            return true;
        };
        if self.waiting.is_none() {
            let delay = self.backoff.text();
            let text = format!("back-off {delay} restarting failed container={} pod={pod}", self.name);
            let mut waiting = Waiting::plain("CrashLoopBackOff");
            waiting.retry_at = Some(until);
            if ended.reason == "StartError" {
                waiting.reason = "RunContainerError";
                waiting.message = ended.message.clone();
                waiting.later = Some((now + span(timings.announce), "CrashLoopBackOff", text));
            } else {
                waiting.message = Some(text);
            }
            self.waiting = Some(waiting);
        }
        false
    }

    /// An attempt did not get as far as a process.
    pub(super) fn refused(&mut self, refusal: Refusal, now: Timestamp, timings: &Timings) {
        self.now = match self.last.take() {
            // Back to where it was before, so that the restart policy goes on applying to it.
            Some(last) if self.attempts > 0 => Now::Ended(last),
            _ => Now::Idle,
        };
        let mut waiting = Waiting { refused: true, ..Waiting::plain(refusal.reason) };
        if refusal.image {
            self.image_backoff.advance(now, now, timings);
            let until = self.image_backoff.until(now, timings);
            waiting.retry_at = until;
            if refusal.reason == "ErrImagePull" {
                let text = format!("Back-off pulling image: ErrImagePull: {}", refusal.message);
                waiting.later = Some((now + span(timings.announce), "ImagePullBackOff", text));
            }
        } else {
            waiting.retry_at = Some(now + span(timings.retry));
        }
        waiting.message = Some(refusal.message);
        self.waiting = Some(waiting);
    }
}

/// A duration for arithmetic with timestamps.
pub(super) fn span(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
