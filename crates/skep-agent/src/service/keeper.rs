//! The life of one program, start after start.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt,
    process::{Command, Stdio},
    time::Duration,
};

use nix::sys::signal::Signal;
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Program, Ready, State, health::Health};
use crate::{
    Error, Result,
    children::{Child, Children, Exit},
    logs,
    notify::Notify,
};

/// First pause before a program is started again; it doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A minute without kubelet must not become two.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A program that ran this long has recovered: the next end counts as the first one.
const RECOVERED: Duration = Duration::from_secs(60);
/// To write down what every thread of it does, for a program that does not answer.
const LAST_WORDS: Duration = Duration::from_secs(10);
/// Lines of its log that are repeated when it ends: the log is on the node, these go to its console.
const TAIL: usize = 5;

pub(super) struct Keeper {
    children: Children,
    program: Program,
    state: watch::Sender<State>,
    stop: CancellationToken,
}

/// How a round with one process ended.
enum Round {
    Stopped,
    Down(String),
}

impl Keeper {
    pub(super) fn new(
        children: Children,
        program: Program,
        state: watch::Sender<State>,
        stop: CancellationToken,
    ) -> Self {
        Self { children, program, state, stop }
    }

    pub(super) async fn run(self) {
        let name = self.program.name;
        let mut pause = FIRST_PAUSE;
        let mut in_a_row = 0_u32;
        loop {
            self.state.send_replace(State::Starting);
            let began = Instant::now();
            let how = match self.round().await {
                Ok(Round::Stopped) => break,
                Ok(Round::Down(how)) => how,
                Err(error) => error.to_string(),
            };
            if began.elapsed() >= RECOVERED {
                (pause, in_a_row) = (FIRST_PAUSE, 0);
            }
            in_a_row = in_a_row.saturating_add(1);
            let tail = logs::tail_text(&self.program.log, TAIL);
            tracing::warn!(program = name, how, in_a_row, tail, "down, will be started again");
            self.state.send_replace(State::Down);
            tokio::select! {
                () = sleep(pause) => {}
                () = self.stop.cancelled() => break,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        self.state.send_replace(State::Stopped);
    }

    /// One process from its start to its end.
    async fn round(&self) -> Result<Round> {
        if let Some(before) = &self.program.before {
            before()?;
        }
        let (mut child, notify) = self.start().map_err(|source| self.cannot_start(source))?;
        let name = self.program.name;
        tracing::info!(program = name, pid = child.pid(), "started");
        if let (Some(notify), Ready::Notified(patience)) = (&notify, self.program.ready) {
            tokio::select! {
                () = notify.ready() => {}
                exit = child.wait() => return Ok(Round::Down(exit.to_string())),
                () = sleep(patience) => {
                    return Ok(end(&mut child, format!("not ready after {} s", patience.as_secs())).await);
                }
                () = self.stop.cancelled() => return Ok(self.stop(&mut child).await),
            }
        }
        tracing::info!(program = name, pid = child.pid(), "ready");
        self.state.send_replace(State::Ready);
        let why = tokio::select! {
            exit = child.wait() => return Ok(Round::Down(exit.to_string())),
            why = unwell(self.program.health.as_ref()) => why,
            () = self.stop.cancelled() => return Ok(self.stop(&mut child).await),
        };
        Ok(end(&mut child, format!("does not answer: {why}")).await)
    }

    fn start(&self) -> io::Result<(Child, Option<Notify>)> {
        let notify = match self.program.ready {
            Ready::Notified(_) => Some(Notify::bind()?),
            Ready::Started => None,
        };
        let log: File = OpenOptions::new().append(true).create(true).mode(0o600).open(&self.program.log)?;
        let mut command = Command::new(&self.program.path);
        command
            .args(&self.program.arguments)
            .env_clear()
            .envs(self.program.environment.iter().cloned())
            .envs(notify.as_ref().map(Notify::variable))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok((self.children.spawn(command)?, notify))
    }

    fn cannot_start(&self, source: io::Error) -> Error {
        Error::Start { program: self.program.path.display().to_string(), source }
    }

    async fn stop(&self, child: &mut Child) -> Round {
        child.signal(Signal::SIGTERM);
        let exit = finish(child, self.program.grace).await;
        tracing::info!(program = self.program.name, how = %exit, "stopped");
        Round::Stopped
    }
}

/// Why a program is not well; never returns while it is.
async fn unwell(health: Option<&Health>) -> String {
    match health {
        Some(health) => health.fails().await,
        None => std::future::pending().await,
    }
}

/// Ends a program that hangs. All of ours are written in Go and, on SIGQUIT, tell in their log what they were doing.
async fn end(child: &mut Child, why: String) -> Round {
    child.signal(Signal::SIGQUIT);
    finish(child, LAST_WORDS).await;
    Round::Down(why)
}

/// Waits for the end, which comes by force after this long.
async fn finish(child: &mut Child, patience: Duration) -> Exit {
    if let Ok(exit) = timeout(patience, child.wait()).await {
        return exit;
    }
    child.kill();
    child.wait().await
}
