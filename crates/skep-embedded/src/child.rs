//! One program of the hub, kept running.
//!
//! Guarantees: at most one copy. A copy that outlived an earlier supervisor is kept when it was started with exactly
//! what it would be started with now, else stopped in order; a copy that was started but never written down (killed in
//! between) is found by its marker and ended. A program that ends by itself is started again, at once the first
//! time and with growing pauses while it keeps ending.

use std::{path::PathBuf, sync::Arc, time::Duration};

use skep_agent::notify::Notify;
use skep_vnode::process::{Exit, Marker, Process, Spawn, StopPlan, Stream, marker, stop, sweep};
use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    Error, Result,
    board::{Board, Health},
    logs,
    state::{self, StateFile},
};

/// First pause before a program is started again; it doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// A minute without etcd must not become two: the pause stays short.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A program that ran this long has recovered: the next end counts as the first one.
const RECOVERED: Duration = Duration::from_secs(60);
/// A first start is given up after so many ends in a row: the reason is in the log and does not go away.
const MAX_FIRST_FAILURES: u32 = 3;
/// Lines of the log that go into an error.
const TAIL: usize = 5;

/// What to start.
#[derive(Clone, Debug)]
pub struct Command {
    /// Component name: of the log, the record and the marker.
    pub name: &'static str,
    /// Full path of the executable.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<String>,
    /// Digest over everything the process read at its start.
    pub fingerprint: String,
    /// Its log file.
    pub log: PathBuf,
    /// Whether it says `READY=1` when it serves; otherwise it counts as ready once it runs.
    pub notifies: bool,
    /// How long it may take to end after SIGTERM.
    pub grace: Duration,
}

/// What others may know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChildState {
    /// Not ready yet.
    Starting,
    /// Ready.
    Ready,
    /// Ended by itself so many times in a row; this is how it ended last.
    Failing(u32, String),
    /// Stopped on purpose.
    Stopped,
}

/// A supervised program. Dropping it leaves the process alone.
#[derive(Debug)]
pub struct Child {
    command: Command,
    state: watch::Receiver<ChildState>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

/// Where a child is written down and shown.
#[derive(Clone, Debug)]
pub struct Context {
    /// Marker of the installation.
    pub instance: Marker,
    /// Records.
    pub records: Arc<StateFile>,
    /// Display.
    pub board: Board,
}

impl Context {
    /// Marker of a program of the hub.
    pub fn marker(&self, name: &str) -> Marker {
        self.instance.join("hub").join(name)
    }
}

impl Child {
    /// Adopts or starts the program and keeps it running until [`stop`](Self::stop).
    pub fn start(context: Context, command: Command) -> Self {
        let (sender, state) = watch::channel(ChildState::Starting);
        let stop = CancellationToken::new();
        let keeper = Keeper { context, command: command.clone(), sender, stop: stop.clone(), restarts: 0 };
        Self { command, state, stop, task: tokio::spawn(keeper.run()) }
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// [`Error::ChildExits`] when it keeps ending, [`Error::ChildNotReady`] when it does not get there in time.
    pub async fn ready(&self, deadline: Duration) -> Result<()> {
        let component = self.command.name.to_owned();
        let tail = || logs::tail_text(&self.command.log, TAIL);
        let mut state = self.state.clone();
        let decided = |state: &ChildState| match state {
            ChildState::Ready | ChildState::Stopped => true,
            ChildState::Failing(times, _) => *times >= MAX_FIRST_FAILURES,
            ChildState::Starting => false,
        };
        match timeout(deadline, state.wait_for(decided)).await {
            Ok(Ok(state)) => match &*state {
                ChildState::Failing(_, how) => {
                    Err(Error::ChildExits { component, how: how.clone(), tail: tail() })
                }
                _ => Ok(()),
            },
            Ok(Err(_)) => Err(Error::Spawn { component, reason: "its keeper ended".into() }),
            Err(_) => Err(Error::ChildNotReady { component, seconds: deadline.as_secs(), tail: tail() }),
        }
    }

    /// Why it does not stay, once it has ended too often in a row. One that does not say when it serves counts as ready
    /// as soon as it runs; that it cannot run shows only here.
    pub async fn fails(&self) -> Error {
        let mut state = self.state.clone();
        let hopeless = |state: &ChildState| matches!(state, ChildState::Failing(times, _) if *times >= MAX_FIRST_FAILURES);
        let how = state.wait_for(hopeless).await.ok().map(|state| match &*state {
            ChildState::Failing(_, how) => how.clone(),
            _ => String::new(),
        });
        // Without a keeper it was stopped on purpose.
        let Some(how) = how else { return std::future::pending().await };
        let tail = logs::tail_text(&self.command.log, TAIL);
        Error::ChildExits { component: self.command.name.to_owned(), how, tail }
    }

    /// Stops it: SIGTERM, its grace, SIGKILL. Returns when nothing of it is left.
    pub async fn stop(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(component = self.command.name, %error, "keeper");
        }
    }
}

struct Keeper {
    context: Context,
    command: Command,
    sender: watch::Sender<ChildState>,
    stop: CancellationToken,
    restarts: u32,
}

/// How a round with one process ended.
enum Round {
    Stopped,
    Ended(String),
}

impl Keeper {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        let mut in_a_row = 0;
        loop {
            let began = Instant::now();
            let how = match self.round().await {
                Ok(Round::Stopped) => break,
                Ok(Round::Ended(how)) => how,
                Err(error) => error.to_string(),
            };
            if began.elapsed() >= RECOVERED {
                (pause, in_a_row) = (FIRST_PAUSE, 0);
            }
            in_a_row += 1;
            tracing::warn!(component = self.command.name, how, in_a_row, "ended by itself");
            self.show(Health::Waiting, None, Some(how.clone()));
            self.sender.send_replace(ChildState::Failing(in_a_row, how));
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.stop.cancelled() => break,
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            self.restarts += 1;
        }
        self.forget();
        self.show(Health::Stopped, None, None);
        self.sender.send_replace(ChildState::Stopped);
    }

    /// One process from its start (or adoption) to its end.
    async fn round(&mut self) -> Result<Round> {
        let marker = self.context.marker(self.command.name);
        let (process, notify) = match self.adopt(&marker).await? {
            Some(process) => (process, None),
            None => self.spawn(&marker)?,
        };
        let pid = u32::try_from(process.pid()).ok();
        if let Some(notify) = notify {
            self.sender.send_replace(ChildState::Starting);
            self.show(Health::Starting, pid, None);
            tokio::select! {
                () = notify.ready() => {}
                exit = process.wait() => return Ok(Round::Ended(describe(exit))),
                () = self.stop.cancelled() => return Ok(self.end(&process, &marker).await),
            }
        }
        self.sender.send_replace(ChildState::Ready);
        self.show(Health::Running, pid, None);
        tokio::select! {
            exit = process.wait() => Ok(Round::Ended(describe(exit))),
            () = self.stop.cancelled() => Ok(self.end(&process, &marker).await),
        }
    }

    async fn end(&self, process: &Process, marker: &Marker) -> Round {
        self.show(Health::Running, u32::try_from(process.pid()).ok(), Some("stopping".into()));
        let exit = stop(process, marker, StopPlan::term(self.command.grace)).await;
        tracing::info!(component = self.command.name, how = describe(exit), "stopped");
        Round::Stopped
    }

    /// The copy that is already there, when it is the right one; any other copy is ended.
    async fn adopt(&self, marker: &Marker) -> Result<Option<Process>> {
        let record = self.context.records.get().children.remove(self.command.name);
        let spawn_error = |error: std::io::Error| self.error(error.to_string());
        if let Some(record) = record
            && let Some(process) = Process::adopt(&record.process).map_err(spawn_error)?
        {
            if record.fingerprint == self.command.fingerprint {
                tracing::info!(component = self.command.name, pid = process.pid(), "adopted");
                return Ok(Some(process));
            }
            tracing::info!(
                component = self.command.name,
                pid = process.pid(),
                "replaced: its settings changed"
            );
            stop(&process, marker, StopPlan::term(self.command.grace)).await;
        }
        // Started and never written down, or left by a process that is gone.
        let marker = marker.clone();
        let scan = marker.clone();
        let strays = tokio::task::spawn_blocking(move || marker::find(&scan)).await;
        if strays.is_ok_and(|found| found.is_ok_and(|found| !found.is_empty())) {
            let killed = sweep(&marker, None).await;
            tracing::warn!(component = self.command.name, killed, "ended copies without a record");
        }
        Ok(None)
    }

    fn spawn(&self, marker: &Marker) -> Result<(Process, Option<Notify>)> {
        let notify = match self.command.notifies {
            true => {
                Some(Notify::bind().map_err(|error| self.error(format!("notification socket: {error}")))?)
            }
            false => None,
        };
        // Makes the file with the right mode, and tells a full disk from other errors.
        drop(logs::open(&self.command.log)?);
        let process = Spawn::new(&self.command.program, marker)
            .name(self.command.name)
            .args(&self.command.args)
            .env(notify.as_ref().map(Notify::variable))
            .directory("/")
            .umask(0o077)
            .stdout(Stream::Append(self.command.log.clone()))
            .stderr(Stream::SameAsOutput)
            .start()
            .map_err(|error| self.error(error.to_string()))?;
        let child =
            state::Child { process: process.id().clone(), fingerprint: self.command.fingerprint.clone() };
        self.context.records.update(|state| {
            state.children.insert(self.command.name.to_owned(), child);
        })?;
        Ok((process, notify))
    }

    fn forget(&self) {
        let forgotten = self.context.records.update(|state| {
            state.children.remove(self.command.name);
        });
        if let Err(error) = forgotten {
            tracing::warn!(component = self.command.name, %error, "its record stays; the next start sees that it is gone");
        }
    }

    fn error(&self, reason: String) -> Error {
        Error::Spawn { component: self.command.name.to_owned(), reason }
    }

    fn show(&self, health: Health, pid: Option<u32>, message: Option<String>) {
        self.context.board.component(self.command.name, health, pid, self.restarts, message);
    }
}

fn describe(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
        Exit::Unknown => "it is gone".to_owned(),
    }
}

#[cfg(test)]
mod tests;
