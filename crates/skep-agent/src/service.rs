//! One program, kept running and answering.
//!
//! Guarantees: at most one copy; a copy that ends is started again, at once the first time and with growing pauses while
//! it keeps ending; a copy that does not get ready, or does not answer any more, is ended and started again.

mod cri;
mod health;
mod http;
mod keeper;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use cri::remove_sandboxes;
pub(crate) use health::Health;

use self::keeper::Keeper;
use crate::{Result, children::Children};

/// What to run.
#[derive(Clone)]
pub(crate) struct Program {
    /// Its name, for people.
    pub name: &'static str,
    /// Full path.
    pub path: PathBuf,
    /// Arguments.
    pub arguments: Vec<String>,
    /// All of its environment.
    pub environment: Vec<(String, String)>,
    /// Where its output goes.
    pub log: PathBuf,
    /// When it counts as ready.
    pub ready: Ready,
    /// How it is known to be well; without it, running is well enough.
    pub health: Option<Health>,
    /// How long it may take to end after SIGTERM.
    pub grace: Duration,
    /// Done before every start.
    pub before: Option<Arc<dyn Fn() -> Result<()> + Send + Sync>>,
}

/// When a program counts as ready.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ready {
    /// When it says `READY=1` in the protocol of service managers, for which it has this long.
    Notified(Duration),
    /// As soon as it runs.
    Started,
}

/// What others may know of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Started, not ready.
    Starting,
    /// Ready.
    Ready,
    /// Ended by itself or for not answering, and not started again yet.
    Down,
    /// Stopped on purpose.
    Stopped,
}

/// A program under supervision. Must be [stopped](Service::stop).
#[derive(Debug)]
pub(crate) struct Service {
    state: watch::Receiver<State>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Service {
    /// Starts the program and keeps it running until it is stopped.
    pub(crate) fn start(children: Children, program: Program) -> Self {
        let (sender, state) = watch::channel(State::Starting);
        let stop = CancellationToken::new();
        let keeper = Keeper::new(children, program, sender, stop.clone());
        Self { state, stop, task: tokio::spawn(keeper.run()) }
    }

    /// Waits until it is ready, over all of its starts. Cancel safe.
    pub(crate) async fn ready(&self) {
        // The sender ends with a stop only.
        let _ = self.state.clone().wait_for(|state| matches!(state, State::Ready | State::Stopped)).await;
    }

    /// Stops it: SIGTERM, its grace, SIGKILL. Returns when it has ended.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the keeper of a program has ended");
        }
    }
}

#[cfg(test)]
mod tests;
