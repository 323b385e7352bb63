//! The other side of the supervisor: starting it in the background, finding a running one, stopping it.
//!
//! The one who starts reads the supervisor's snapshots from a pipe, so that its death is seen at once and with its
//! reason; everybody else reads the same snapshots from the control socket.

use std::{ffi::OsString, fs::File, os::fd::AsFd, pin::Pin, process::Stdio, time::Duration};

use nix::{
    sys::signal::{Signal, kill},
    unistd::{Pid, dup2_stdout, setsid},
};
use skep_vnode::process::{Marker, marker};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::Command,
    time::{Instant, sleep, timeout},
};

use crate::{
    Error, Layout, Options, Result,
    board::{Board, Phase, Snapshot},
    control::Client,
    halt,
    lock::{self, Lock},
    logs, state,
};

/// Exit code of a supervisor that found another one.
pub const HELD: i32 = 75;
/// For a supervisor that holds the lock to open its socket, or to let go of the lock after its last snapshot.
const HANDOVER: Duration = Duration::from_secs(10);
/// For a stop: more than all its parts may take together.
const STOP: Duration = Duration::from_secs(180);
/// How many supervisors `up` may see die before it gives up.
const DEATHS: u32 = 3;
/// Lines of the log that go into an error.
const TAIL: usize = 8;
/// How often a step that takes its time is shown again with a later clock.
const CLOCK: Duration = Duration::from_secs(1);

/// How `up` ended well.
#[derive(Clone, Debug, PartialEq)]
pub enum Up {
    /// It was started.
    Started(Snapshot),
    /// It ran already.
    Attached(Snapshot),
}

/// How `down` ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Down {
    /// It ran and is stopped.
    Stopped,
    /// It did not run, but so many processes of it did: they are ended.
    Cleaned(usize),
}

/// What `status` found.
#[derive(Clone, Debug, PartialEq)]
pub enum Status {
    /// A supervisor answers.
    Running(Box<Snapshot>),
    /// None does; so many processes were left behind by one that was killed.
    Stopped(usize),
}

/// Starts a supervisor in the background with `args` and more `environment`, or attaches to the running one. Returns
/// when it is ready.
///
/// `show` sees every snapshot. `interrupted` asks to give up: what was begun is stopped again.
///
/// # Errors
/// Why it cannot start, as the supervisor said it.
pub async fn up(
    layout: &Layout,
    options: &Options,
    args: &[OsString],
    environment: &[(&str, &str)],
    mut show: impl FnMut(&Snapshot),
    interrupted: impl Future<Output = ()>,
) -> Result<Up> {
    options.check()?;
    layout.prepare()?;
    state::read(layout)?;
    tokio::pin!(interrupted);
    let mut deaths = 0;
    loop {
        // Only a look: the supervisor takes the lock itself. Between here and there another one may be quicker, see HELD.
        if lock::acquire(layout)?.is_ok()
            && let Launched::Ready(snapshot) =
                launch(layout, args, environment, &mut show, interrupted.as_mut()).await?
        {
            return Ok(Up::Started(*snapshot));
        }
        match find(layout, options, &mut show).await {
            // It was about to die when we found it; so was, perhaps, the one after it.
            Err(Error::DaemonDied { .. }) if deaths < DEATHS => deaths += 1,
            found => return found.map(Up::Attached),
        }
    }
}

enum Launched {
    Ready(Box<Snapshot>),
    Held,
}

async fn launch(
    layout: &Layout,
    args: &[OsString],
    environment: &[(&str, &str)],
    show: &mut impl FnMut(&Snapshot),
    mut interrupted: Pin<&mut impl Future<Output = ()>>,
) -> Result<Launched> {
    let log = layout.log("skep");
    let failed =
        |reason: std::io::Error| Error::Spawn { component: "skep".into(), reason: reason.to_string() };
    let mut child = Command::new("/proc/self/exe")
        .arg0("skep")
        .args(args)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(logs::open(&log)?)
        .spawn()
        .map_err(failed)?;
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
    let Some(stdout) = child.stdout.take() else {
        return Err(Error::DaemonDied { tail: String::new() });
    };
    let mut lines = BufReader::new(stdout).lines();
    let mut asked = false;
    let mut clock = tokio::time::interval(CLOCK);
    let mut last: Option<Snapshot> = None;
    loop {
        let line = tokio::select! {
            line = lines.next_line() => line.ok().flatten(),
            _ = clock.tick() => {
                last.iter().for_each(&mut *show);
                continue;
            }
            () = &mut interrupted, if !asked => {
                asked = true;
                pid.map(|pid| kill(pid, Signal::SIGTERM));
                continue;
            }
        };
        let Some(line) = line else { break };
        let Ok(snapshot) = serde_json::from_str::<Snapshot>(&line) else { continue };
        show(&snapshot);
        match snapshot.phase {
            Phase::Ready if !asked => return Ok(Launched::Ready(Box::new(snapshot))),
            Phase::Failed => return Err(failure(&snapshot)),
            Phase::Stopped => return Err(Error::Interrupted),
            _ => last = Some(snapshot),
        }
    }
    let status = child.wait().await.map_err(failed)?;
    if status.code() == Some(HELD) {
        return Ok(Launched::Held);
    }
    Err(died(layout))
}

fn failure(snapshot: &Snapshot) -> Error {
    match &snapshot.failure {
        Some(failure) => Error::Daemon {
            code: skep_api::Code::new(failure.code),
            message: failure.message.clone(),
            help: failure.help.clone(),
        },
        None => Error::DaemonDied { tail: String::new() },
    }
}

/// Uses the supervisor that holds the lock: waits until it is ready, refuses when it was asked for something else.
///
/// # Errors
/// [`Error::OtherSettings`], [`Error::Locked`], [`Error::DaemonDied`], and why it fails when it does.
pub async fn find(layout: &Layout, options: &Options, mut show: impl FnMut(&Snapshot)) -> Result<Snapshot> {
    let Some(mut client) = connect(layout).await? else { return Err(died(layout)) };
    while let Some(snapshot) = client.next().await {
        // Decided after the configuration step; before it there is nothing to compare with.
        let differences = options.differences(&snapshot.endpoints);
        if !snapshot.endpoints.hub.is_empty() && !differences.is_empty() {
            return Err(Error::OtherSettings { pid: snapshot.pid, differences: differences.join("; ") });
        }
        show(&snapshot);
        match snapshot.phase {
            Phase::Ready => return Ok(snapshot),
            Phase::Failed => return Err(failure(&snapshot)),
            Phase::Stopping | Phase::Stopped => return Err(Error::Stopping { pid: snapshot.pid }),
            Phase::Starting => {}
        }
    }
    Err(died(layout))
}

fn died(layout: &Layout) -> Error {
    Error::DaemonDied { tail: logs::tail_text(&layout.log("skep"), TAIL) }
}

/// Connects to the supervisor that holds the lock; it may be just about to open its socket. Nothing when nobody holds
/// it: a process that was killed keeps lock and socket until its last thread is gone.
async fn connect(layout: &Layout) -> Result<Option<Client>> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(client) = Client::watch(layout).await? {
            return Ok(Some(client));
        }
        match lock::acquire(layout)? {
            Ok(_) => return Ok(None),
            Err(held) if began.elapsed() > HANDOVER => {
                return Err(Error::Locked { pid: held.pid, lock: layout.lock() });
            }
            Err(_) => sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Stops the supervisor and everything it runs, or ends what a killed one left.
///
/// # Errors
/// [`Error::NotRunning`] when there is nothing to stop; [`Error::StillRunning`].
pub async fn down(layout: &Layout, mut show: impl FnMut(&Snapshot)) -> Result<Down> {
    if !layout.exists() && !layout.lock().exists() {
        return Err(Error::NotRunning { path: layout.root().to_owned() });
    }
    if let Some(mut client) = Client::stop(layout).await? {
        let mut last = None;
        let followed = timeout(STOP, async {
            while let Some(snapshot) = client.next().await {
                show(&snapshot);
                last = Some(snapshot);
            }
        });
        if followed.await.is_err() {
            return Err(Error::StillRunning { seconds: STOP.as_secs(), processes: "skep".into() });
        }
        let lock = wait_for_lock(layout).await?;
        return match last {
            Some(snapshot) if snapshot.phase == Phase::Failed => Err(failure(&snapshot)),
            Some(snapshot) if snapshot.phase == Phase::Stopped => Ok(Down::Stopped),
            // It died on the way: the rest is ours.
            _ => clean(layout, lock).await.map(|_| Down::Stopped),
        };
    }
    match lock::acquire(layout)? {
        Ok(lock) => match clean(layout, lock).await? {
            0 => Err(Error::NotRunning { path: layout.root().to_owned() }),
            ended => Ok(Down::Cleaned(ended)),
        },
        Err(held) => {
            // It has not opened its socket yet, or cannot.
            if let Ok(pid @ 2..) = i32::try_from(held.pid) {
                let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
            }
            wait_for_lock(layout).await.map(|_| Down::Stopped)
        }
    }
}

async fn clean(layout: &Layout, _lock: Lock) -> Result<usize> {
    match state::read(layout)? {
        Some(state) => halt::everything(&Marker::new(&state.instance), |_| {}).await,
        None => Ok(0),
    }
}

async fn wait_for_lock(layout: &Layout) -> Result<Lock> {
    let began = Instant::now();
    let mut pause = Duration::from_millis(5);
    loop {
        match lock::acquire(layout)? {
            Ok(lock) => return Ok(lock),
            Err(held) if began.elapsed() > HANDOVER => {
                return Err(Error::Locked { pid: held.pid, lock: layout.lock() });
            }
            Err(_) => sleep(pause).await,
        }
        pause = (pause * 2).min(Duration::from_millis(200));
    }
}

/// Looks without changing anything.
///
/// # Errors
/// [`Error::NotRunning`] when nothing was ever started here, [`Error::Format`] for another format.
pub async fn status(layout: &Layout) -> Result<Status> {
    let state = state::read(layout)?;
    if let Some(mut client) = Client::watch(layout).await?
        && let Ok(Some(snapshot)) = timeout(HANDOVER, client.next()).await
    {
        return Ok(Status::Running(Box::new(snapshot)));
    }
    let Some(state) = state else { return Err(Error::NotRunning { path: layout.root().to_owned() }) };
    let found = marker::find(&Marker::new(&state.instance)).map_err(|error| Error::io("/proc", error))?;
    Ok(Status::Stopped(found.len()))
}

/// In the supervisor: leaves the terminal's session and sends snapshots to the one who started it until the start is
/// decided. Afterwards standard output goes nowhere.
pub async fn report_start(board: Board) {
    let _ = setsid();
    let mut stdout = tokio::io::stdout();
    let mut watch = board.watch();
    loop {
        let snapshot = watch.borrow_and_update().clone();
        let Ok(mut text) = serde_json::to_vec(&snapshot) else { break };
        text.push(b'\n');
        let sent = async {
            stdout.write_all(&text).await?;
            stdout.flush().await
        };
        // Nobody reads any more: the start goes on without them.
        if !matches!(timeout(HANDOVER, sent).await, Ok(Ok(()))) {
            break;
        }
        if !matches!(snapshot.phase, Phase::Starting | Phase::Stopping) || watch.changed().await.is_err() {
            break;
        }
    }
    if let Ok(null) = File::options().write(true).open("/dev/null") {
        let _ = dup2_stdout(null.as_fd());
    }
}
