//! Stopping a pod: all containers at once, sidecars after the others and in reverse order.

use tokio::time::Instant;

use super::{Stop, Worker};
use crate::process::pod::Kind;
use crate::process::pod::cell::{Cause, Order};
use crate::process::pod::slot::Now;
use crate::process::pod::worker::sandbox_of_this_boot;
use crate::process::stop;

impl Worker {
    /// On request. Containers are told again and again; only what is new has an effect.
    pub(super) async fn advance_stop(&mut self) {
        let Stop::By { deadline, halt } = self.stop else { return };
        if self.give_orders(deadline) || self.tending.stop() {
            return;
        }
        // The containers have ended, the pod has not: what is being written into its directory comes first.
        self.publish();
        self.identity.work.idle().await;
        // Whatever carries the marker and was not found with its container.
        stop::sweep(&self.identity.marker, None).await;
        for slot in &mut self.slots {
            slot.waiting = None;
        }
        self.stop = Stop::Done { halt };
        self.face.announce_halted();
    }

    /// What ends from now on begins anew with the next run of the node, as after a restart of the machine. Written down
    /// before anything is stopped: a node that is killed in the middle of its halt has halted all the same.
    pub(super) async fn leave_sandbox(&mut self) {
        let halts = self.sandbox.rsplit_once('/').and_then(|(_, n)| n.parse::<u64>().ok()).unwrap_or(0);
        self.sandbox = sandbox_of_this_boot(halts + 1);
        self.save_pod().await;
    }

    /// The pod is over by itself: its sidecars have no work any more.
    pub(super) fn wind_down(&mut self) {
        for slot in &mut self.slots {
            slot.waiting = None;
        }
        if !self.give_orders(Instant::now() + self.grace()) {
            self.tending.stop();
        }
    }

    /// Tells every container that is busy to stop; returns whether there is any.
    fn give_orders(&mut self, deadline: Instant) -> bool {
        let mut later_busy = self.slots.iter().any(|s| s.place.kind == Kind::Main && s.is_busy());
        let mut any = false;
        // Backwards: a sidecar's turn comes when all after it have ended.
        for slot in self.slots.iter().rev() {
            let Now::Busy { order, .. } = &slot.now else { continue };
            any = true;
            let turn = slot.place.kind != Kind::Sidecar || !later_busy;
            order.send_if_modified(|old| {
                let new = match old {
                    None => Order { cause: Cause::Pod, deadline, turn },
                    Some(old) => Order {
                        cause: Cause::Pod,
                        deadline: old.deadline.min(deadline),
                        turn: old.turn || turn,
                    },
                };
                let changed = *old != Some(new);
                *old = Some(new);
                changed
            });
            later_busy |= slot.place.kind == Kind::Sidecar;
        }
        any
    }

    fn grace(&self) -> std::time::Duration {
        let seconds = self.pod.spec.as_ref().and_then(|s| s.termination_grace_period_seconds).unwrap_or(30);
        std::time::Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
    }
}
