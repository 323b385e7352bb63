//! `kubectl exec`: a command beside a container, connected to somebody far away.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use tokio::net::unix::pipe;

use super::beside::{self, Beside};
use super::handle::Process;
use super::pty::{self, Terminal};
use super::spawn::{Spawn, Stream};
use crate::backend::{BackendError, ExecControl, ExecRequest, ExecSession, TerminalSize};

/// Starts the command.
pub(super) async fn start(beside: &Beside, request: ExecRequest) -> Result<ExecSession, BackendError> {
    let command = beside.command(&request.command).map_err(BackendError::Exec)?;
    // What it leaves in the background outlives the session, as in a container.
    let command = command.keep_group();
    let io = |source| BackendError::io("connecting a command", source);
    if request.tty {
        return with_terminal(command, &request).await;
    }
    let (mut stdin, mut stdout, mut stderr) = (None, None, None);
    let mut command = command;
    if request.stdin {
        let (theirs, ours) = std::io::pipe().map_err(io)?;
        stdin = Some(pipe::Sender::from_owned_fd(ours.into()).map_err(io)?);
        command = command.stdin(Stream::Fd(theirs.into()));
    }
    for (wanted, ours, error) in [(request.stdout, &mut stdout, false), (request.stderr, &mut stderr, true)] {
        if wanted {
            let (reader, writer) = std::io::pipe().map_err(io)?;
            *ours = Some(pipe::Receiver::from_owned_fd(reader.into()).map_err(io)?);
            let stream = Stream::Fd(OwnedFd::from(writer));
            command = if error { command.stderr(stream) } else { command.stdout(stream) };
        }
    }
    let process = beside::start(command).await.map_err(BackendError::Exec)?;
    Ok(ExecSession {
        stdin: stdin.map(|s| Box::new(s) as _),
        stdout: stdout.map(|s| Box::new(s) as _),
        stderr: stderr.map(|s| Box::new(s) as _),
        control: Arc::new(Control { process: process.clone(), terminal: None }),
        exit: Box::pin(exit(process)),
    })
}

async fn with_terminal(command: Spawn, request: &ExecRequest) -> Result<ExecSession, BackendError> {
    let io = |source| BackendError::io("opening a terminal", source);
    let (ours, theirs) = pty::open(request.size).map_err(io)?;
    let clone = || theirs.try_clone().map(Stream::Fd).map_err(io);
    let command = command.stdin(clone()?).stdout(clone()?).stderr(Stream::SameAsOutput).terminal();
    drop(theirs);
    let process = beside::start(command).await.map_err(BackendError::Exec)?;
    Ok(ExecSession {
        stdin: request.stdin.then(|| Box::new(ours.clone()) as _),
        stdout: Some(Box::new(ours.clone())),
        stderr: None,
        control: Arc::new(Control { process: process.clone(), terminal: Some(ours) }),
        exit: Box::pin(exit(process)),
    })
}

struct Control {
    process: Process,
    terminal: Option<Terminal>,
}

impl ExecControl for Control {
    fn resize(&self, size: TerminalSize) {
        if let Some(terminal) = &self.terminal
            && let Err(error) = terminal.resize(size)
        {
            tracing::debug!(%error, "a terminal cannot be resized");
        }
    }

    fn kill(&self) {
        let _ = self.process.kill();
    }
}

/// Kills the command when nobody waits for it any more.
struct Killed(Option<Process>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(process) = self.0.take() {
            let _ = process.kill();
        }
    }
}

fn exit(process: Process) -> impl Future<Output = i32> {
    let guard = Killed(Some(process.clone()));
    async move {
        // As a whole, so that dropping this future drops it.
        let mut guard = guard;
        let exit = process.wait().await;
        guard.0 = None;
        exit.code()
    }
}
