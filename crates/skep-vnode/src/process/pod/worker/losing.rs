//! Jobs that end without an answer: given up on purpose, or by a defect of ours.

use jiff::Timestamp;
use tokio::task::JoinError;

use super::tending::Tended;
use super::{Done, Worker};
use crate::process::pod::attempt::{Finished, Refusal};
use crate::process::pod::record::Ended;
use crate::process::pod::slot::Now;
use crate::process::stop;

/// What people are told; what a panic says may hold anything and goes to the log of the node only.
const DEFECT: &str = "an internal error of the node, see its log; it is tried again";

impl Worker {
    /// A panic counts as an attempt that failed, and is tried again like one.
    pub(super) async fn lost(&mut self, error: &JoinError) {
        let pod = self.identity.short_name();
        if error.is_panic() {
            tracing::error!(pod, %error, "a job of a pod failed");
        }
        if self.tending.is_job(error.id()) {
            if error.is_panic() {
                self.tended(Tended::Prepared(Err(DEFECT.to_owned())));
            } else {
                self.tending.given_up();
            }
            return;
        }
        let of_slot = |now: &Now| matches!(now, Now::Busy { job, .. } if *job == error.id());
        let Some(position) = self.slots.iter().position(|slot| of_slot(&slot.now)) else {
            // Only measuring is left.
            self.schedule_measuring(Timestamp::now());
            return;
        };
        let Some(slot) = self.slots.get(position) else { return };
        // What it may have started has nobody who looks after it.
        stop::sweep(&self.identity.marker.join(&slot.name), None).await;
        let Now::Busy { cell, .. } = &slot.now else { return };
        let finished = match cell.running() {
            Some(running) => Finished::Ended(Ended {
                attempt: cell.attempt,
                exit_code: running.process.exit().map_or(137, |exit| exit.code()),
                reason: "ContainerStatusUnknown".to_owned(),
                message: Some(DEFECT.to_owned()),
                started_at: Some(running.since),
                finished_at: Timestamp::now(),
                image_id: running.beside.image.id.clone(),
                sandbox: self.sandbox.clone(),
            }),
            // Longer and longer waits, as for an image: a defect does not go away by itself.
            None => Finished::NotCreated(Refusal {
                reason: "CreateContainerError",
                message: DEFECT.to_owned(),
                image: true,
            }),
        };
        self.reporter.container(slot.place, &slot.name).warning("Failed", format!("Error: {DEFECT}"));
        self.hear(Done::Container(position, finished));
    }
}
