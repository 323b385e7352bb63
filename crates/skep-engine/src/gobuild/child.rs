//! Stopping a build that nobody waits for.
//!
//! `go` stays in our process group, so that a Ctrl-C in a terminal reaches it as well. When only the future is dropped
//! it gets the same signal: Go ends in order on SIGINT, and takes its compilers along.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::Child;

/// How long Go may take to end in order before it is killed.
const GRACE: Duration = Duration::from_secs(10);

/// Interrupts a child when dropped, unless disarmed.
pub(super) struct Interrupt(Option<Pid>);

impl Interrupt {
    pub(super) fn new(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).map(Pid::from_raw))
    }

    /// The child has ended: its process id may soon be somebody else's.
    pub(super) fn disarm(&mut self) {
        self.0 = None;
    }

    /// Interrupts, waits a moment, kills.
    pub(super) async fn now_and_wait(&mut self, child: &mut Child) {
        if let Some(pid) = self.0.take() {
            let _ = kill(pid, Signal::SIGINT);
        }
        if tokio::time::timeout(GRACE, child.wait()).await.is_err() {
            let _ = child.kill().await;
        }
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill(pid, Signal::SIGINT);
        }
    }
}
