//! The parts of the product that run inside a process of Skep, each as one future: inside the supervisor of
//! `skep up`, or alone as `skep operator`, `skep gateway`, `skep vnode`.

pub mod gateway;
pub mod hollow;
pub mod invitations;
pub mod machines;
pub mod nodes;
pub mod operator;
pub mod registry;
pub mod volumes;

use std::time::Duration;

use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::board::{Board, Health};

/// Pauses before a part that ended is started again: the first, and the longest it doubles up to.
const PAUSES: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A part that ran this long has recovered.
const RECOVERED: Duration = Duration::from_secs(60);

/// A part that is kept running.
#[derive(Debug)]
pub struct Part {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Part {
    /// Keeps `run` running under `name`: whatever ends it, an error or a panic, it is started again after a pause.
    pub fn keep<F, R>(board: Board, name: &'static str, run: R) -> Self
    where
        R: Fn(CancellationToken) -> F + Send + 'static,
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let stop = CancellationToken::new();
        let task = tokio::spawn(keep(board, name, run, stop.clone()));
        Self { stop, task }
    }

    /// Ends it and waits until it has.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "keeper of a part");
        }
    }
}

async fn keep<F, R>(board: Board, name: &'static str, run: R, stop: CancellationToken)
where
    R: Fn(CancellationToken) -> F + Send,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let (mut pause, mut restarts) = (PAUSES.0, 0);
    while !stop.is_cancelled() {
        board.component(name, Health::Running, None, restarts, None);
        let began = Instant::now();
        // In a task of its own, so that a panic in it ends only it.
        let ended = match tokio::spawn(run(stop.child_token())).await {
            Ok(Ok(())) => "it ended".to_owned(),
            Ok(Err(reason)) => reason,
            Err(error) => error.to_string(),
        };
        if stop.is_cancelled() {
            break;
        }
        tracing::error!(part = name, reason = ended, "ended by itself");
        board.component(name, Health::Waiting, None, restarts, Some(ended));
        if began.elapsed() >= RECOVERED {
            pause = PAUSES.0;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => break,
        }
        pause = (pause * 2).min(PAUSES.1);
        restarts += 1;
    }
    board.component(name, Health::Stopped, None, restarts, None);
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_error_and_a_panic_are_survived() {
        let board = Board::new("/data".into());
        let runs = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&runs);
        let part = Part::keep(board.clone(), "gateway", move |stop| {
            let run = counter.fetch_add(1, Ordering::SeqCst);
            async move {
                match run {
                    0 => Err("first".to_owned()),
                    1 => panic!("second"),
                    _ => {
                        stop.cancelled().await;
                        Ok(())
                    }
                }
            }
        });
        let mut watch = board.watch();
        watch
            .wait_for(|s| s.components.iter().any(|c| c.restarts == 2 && c.health == Health::Running))
            .await
            .unwrap();
        part.stop().await;
        assert_eq!(runs.load(Ordering::SeqCst), 3);
        assert_eq!(board.get().components[0].health, Health::Stopped);
    }
}
