//! The life of an installation: start in order, run, stop in order.
//!
//! Whatever ends the life (a request, a signal, a failed start), everything that was started is stopped again before
//! [`run`] returns. What it cannot do is survive SIGKILL; then processes go on, and the next [`run`] adopts or replaces
//! them.

mod parts;
mod prepare;
mod start;
mod stop;

use std::sync::Arc;

use skep_engine::Engine;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::start::Running;
use crate::{
    Layout, Options, Result,
    board::{Board, Failure, Phase},
    control::Server,
    lock::Lock,
    logs,
    state::StateFile,
};

/// Runs the installation in `layout` until `stop` is cancelled.
///
/// # Errors
/// Why it could not start; everything is stopped again by then. A stop on request is not an error.
pub async fn run(
    layout: Layout,
    lock: Lock,
    options: Options,
    engine: Engine,
    board: Board,
    stop: CancellationToken,
) -> Result<()> {
    let end = CancellationToken::new();
    let services = TaskTracker::new();
    let outcome = serve(&layout, options, engine, &board, &stop, &end, &services).await;
    if let Err(error) = &outcome {
        tracing::error!(code = %error.code(), %error, "failed");
        let failure = Failure { code: error.code().number(), message: error.to_string(), help: error.help() };
        board.update(|snapshot| snapshot.failure = Some(failure));
    }
    board.phase(if outcome.is_ok() { Phase::Stopped } else { Phase::Failed });
    end.cancel();
    services.close();
    services.wait().await;
    drop(lock);
    outcome
}

async fn serve(
    layout: &Layout,
    options: Options,
    engine: Engine,
    board: &Board,
    stop: &CancellationToken,
    end: &CancellationToken,
    services: &TaskTracker,
) -> Result<()> {
    options.check()?;
    let records = Arc::new(StateFile::open(layout)?);
    // From now on the directory is known as ours, and what is started in it can be found.
    records.update(|_| {})?;
    layout.prepare_inside()?;
    services.spawn(Server::bind(layout)?.run(board.clone(), stop.clone(), end.clone()));
    services.spawn(logs::keep_bounded(layout.logs(), end.clone()));

    let mut running = Running::new(layout.clone(), Arc::clone(&records), board.clone());
    let started = tokio::select! {
        started = running.start(options, engine) => started,
        () = stop.cancelled() => Ok(()),
    };
    if started.is_ok() && !stop.is_cancelled() {
        board.phase(Phase::Ready);
        tracing::info!("ready");
        running.until(stop).await;
    }
    board.phase(Phase::Stopping);
    let stopped = running.stop().await;
    started.and(stopped)
}
