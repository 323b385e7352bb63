//! Starting a program with nothing of ours in it.
//!
//! A started process leads its own session and process group, has exactly the environment it was given plus its
//! [`marker`](super::marker), no descriptor but 0–2, default signal handling, no way to gain privileges and no core
//! dumps. Its input is `/dev/null` unless told otherwise. It outlives us.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::handle::Process;
use super::marker::{HELPER_VARIABLE, Marker, VARIABLE};
use super::sys::ChildSetup;

/// Usual umask of containers.
const UMASK: u32 = 0o022;
/// Mode of files that output is appended to: logs may hold what others must not read.
const OUTPUT_MODE: u32 = 0o600;

/// Where a stream of a process goes to or comes from.
#[derive(Debug, Default)]
pub enum Stream {
    /// `/dev/null`.
    #[default]
    Null,
    /// Appended to this file, which is made when missing. The process never waits for a reader.
    Append(PathBuf),
    /// This descriptor.
    Fd(OwnedFd),
    /// Whatever standard output is: for standard error only.
    SameAsOutput,
}

/// Why a program could not be started.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// The program file is missing or not executable, or the working directory is missing.
    #[error("starting {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// A file for its output could not be opened.
    #[error("opening {path} for output: {source}")]
    Output {
        /// The file.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It was started but could not be watched; it has been killed.
    #[error("watching {program}: {source}")]
    Watch {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

/// A program about to be started.
#[derive(Debug)]
pub struct Spawn {
    program: PathBuf,
    name: Option<OsString>,
    args: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
    marker: Marker,
    helper: bool,
    directory: Option<PathBuf>,
    stdin: Stream,
    stdout: Stream,
    stderr: Stream,
    umask: u32,
    cgroup: Option<OwnedFd>,
    terminal: bool,
    keep_group: bool,
}

impl Spawn {
    /// A program by its full path. Nothing is searched.
    pub fn new(program: impl Into<PathBuf>, marker: &Marker) -> Self {
        Self {
            program: program.into(),
            name: None,
            args: Vec::new(),
            environment: Vec::new(),
            marker: marker.clone(),
            helper: false,
            directory: None,
            stdin: Stream::Null,
            stdout: Stream::Null,
            stderr: Stream::Null,
            umask: UMASK,
            cgroup: None,
            terminal: false,
            keep_group: false,
        }
    }

    /// The name it sees as its own (`argv[0]`); its path when not set.
    pub fn name(mut self, name: impl Into<OsString>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// More arguments.
    pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// More environment; a later value of the same name wins.
    pub fn env<K: Into<OsString>, V: Into<OsString>>(
        mut self,
        pairs: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.environment.extend(pairs.into_iter().map(|(k, v)| (k.into(), v.into())));
        self
    }

    /// Its working directory; ours when not set.
    pub fn directory(mut self, directory: impl Into<PathBuf>) -> Self {
        self.directory = Some(directory.into());
        self
    }

    /// Its input.
    pub fn stdin(mut self, stream: Stream) -> Self {
        self.stdin = stream;
        self
    }

    /// Its output.
    pub fn stdout(mut self, stream: Stream) -> Self {
        self.stdout = stream;
        self
    }

    /// Its error output.
    pub fn stderr(mut self, stream: Stream) -> Self {
        self.stderr = stream;
        self
    }

    /// Its umask; 022 when not set.
    pub fn umask(mut self, umask: u32) -> Self {
        self.umask = umask;
        self
    }

    /// The cgroup it starts in: `cgroup.procs` open for writing.
    pub fn cgroup(mut self, procs: Option<OwnedFd>) -> Self {
        self.cgroup = procs;
        self
    }

    /// Its input is a terminal that becomes its controlling terminal.
    pub fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    /// It is started beside a main process (probe, hook, exec) and must not be mistaken for it after a restart.
    pub fn helper(mut self) -> Self {
        self.helper = true;
        self
    }

    /// What it leaves in its process group lives on when it ends.
    pub fn keep_group(mut self) -> Self {
        self.keep_group = true;
        self
    }

    /// Starts it. Blocks until the program runs (a few milliseconds); needs a tokio runtime.
    pub fn start(self) -> Result<Process, SpawnError> {
        let program = self.program.display().to_string();
        let mut command = Command::new(&self.program);
        if let Some(name) = &self.name {
            command.arg0(name);
        }
        command.args(&self.args).env_clear().envs(self.environment);
        command.env(VARIABLE, self.marker.as_str());
        if self.helper {
            command.env(HELPER_VARIABLE, "1");
        }
        if let Some(directory) = &self.directory {
            command.current_dir(directory);
        }
        let stdout = open(self.stdout)?;
        let stderr = match self.stderr {
            Stream::SameAsOutput => match &stdout {
                Some(fd) => Some(fd.try_clone().map_err(|e| output_error(Path::new("standard output"), e))?),
                None => None,
            },
            other => open(other)?,
        };
        command.stdin(stdio(open(self.stdin)?)).stdout(stdio(stdout)).stderr(stdio(stderr));
        ChildSetup { umask: self.umask, cgroup: self.cgroup, terminal: self.terminal }.attach(&mut command);
        let mut child =
            command.spawn().map_err(|source| SpawnError::Program { program: program.clone(), source })?;
        let pid = i32::try_from(child.id()).unwrap_or_default();
        Process::of_child(pid, self.keep_group).map_err(|source| {
            let _ = child.kill();
            let _ = child.wait();
            SpawnError::Watch { program, source }
        })
    }
}

fn stdio(fd: Option<OwnedFd>) -> Stdio {
    fd.map_or_else(Stdio::null, Stdio::from)
}

fn open(stream: Stream) -> Result<Option<OwnedFd>, SpawnError> {
    match stream {
        Stream::Null | Stream::SameAsOutput => Ok(None),
        Stream::Fd(fd) => Ok(Some(fd)),
        Stream::Append(path) => {
            let file = OpenOptions::new().append(true).create(true).mode(OUTPUT_MODE).open(&path);
            file.map(|f| Some(f.into())).map_err(|e| output_error(&path, e))
        }
    }
}

fn output_error(path: &Path, source: io::Error) -> SpawnError {
    SpawnError::Output { path: path.display().to_string(), source }
}
