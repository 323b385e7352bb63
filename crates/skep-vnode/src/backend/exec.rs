//! Running a command inside a container that runs.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};

/// Size of a terminal in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct TerminalSize {
    /// Columns.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

/// What to run and which of its streams are wanted.
#[derive(Clone, Debug, Default)]
pub struct ExecRequest {
    /// Program and arguments; mount paths in them are mapped like those of the container itself.
    pub command: Vec<String>,
    /// Give it an input; otherwise it reads end of file.
    pub stdin: bool,
    /// Hand out its output.
    pub stdout: bool,
    /// Hand out its error output; always part of the output when there is a terminal.
    pub stderr: bool,
    /// Give it a terminal.
    pub tty: bool,
    /// First size of the terminal.
    pub size: Option<TerminalSize>,
}

/// What one can do to a command while it runs.
pub trait ExecControl: Send + Sync {
    /// Changes the size of the terminal; nothing happens without one.
    fn resize(&self, size: TerminalSize);
    /// Kills the command and what it started in its session.
    fn kill(&self);
}

/// A command that runs. Dropping `exit` kills the command; the streams may be used independently.
pub struct ExecSession {
    /// Its input; close it (drop) for end of file.
    pub stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Its output. With a terminal: everything.
    pub stdout: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Its error output.
    pub stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    /// Resize and kill.
    pub control: Arc<dyn ExecControl>,
    /// Exit code of the command, 128 + signal when a signal ended it. Read the streams to their end as well: they
    /// may hold more after the command has ended.
    pub exit: BoxFuture<'static, i32>,
}
