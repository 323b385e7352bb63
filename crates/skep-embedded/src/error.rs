//! What can go wrong with an installation, in words for the person who runs it.
//!
//! Every variant has a [`Code`] with a page and says what happened to which object; [`Error::help`] says what to do
//! next. Nothing here ever carries key material: only paths, addresses, process ids and the last lines of logs.

use std::{io, net::SocketAddr, path::PathBuf};

use skep_api::Code;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an installation cannot be started, stopped or looked at.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No place for the data is known: neither an option nor the environment nor the user database names one.
    #[error("no data directory: this user has no home directory")]
    NoDataDir,
    /// The directory cannot be created, or a file in it cannot be written or read.
    #[error("{}: {source}", path.display())]
    DataDir {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The directory belongs to somebody else.
    #[error("data directory {} belongs to user {owner}, but this is user {user}", path.display())]
    WrongOwner {
        /// The data directory.
        path: PathBuf,
        /// Numeric user id of the owner.
        owner: u32,
        /// Numeric user id of the caller.
        user: u32,
    },
    /// The directory has files in it that are not Skep's.
    #[error("{} is not empty and not a Skep data directory", path.display())]
    NotADataDir {
        /// The directory.
        path: PathBuf,
    },
    /// The directory was written by a version of Skep with another format.
    #[error("data directory {} has format {found}, this skep reads format {known}", path.display())]
    Format {
        /// The data directory.
        path: PathBuf,
        /// Format of the directory.
        found: u64,
        /// Format of this program.
        known: u64,
    },
    /// A file that Skep wrote cannot be understood any more.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no room for the data.
    #[error("no space left for {}: {free_mib} MiB free", path.display())]
    DiskFull {
        /// The data directory or file.
        path: PathBuf,
        /// What is left, in MiB.
        free_mib: u64,
    },
    /// Another program has a port that cannot be exchanged for another one.
    #[error("port {address} is in use{}: {purpose} needs it", holder.as_ref().map(|h| format!(" by {h}")).unwrap_or_default())]
    PortInUse {
        /// Address and port.
        address: SocketAddr,
        /// Who needs it.
        purpose: String,
        /// Program and process id, when they can be known.
        holder: Option<String>,
    },
    /// The remembered loopback network is used by something else.
    #[error("loopback network {network} is in use by another installation")]
    NetworkInUse {
        /// `127.N.0.0/16`.
        network: String,
    },
    /// All 63 loopback networks are taken.
    #[error("no free loopback network: every one of 127.64.0.0/16 to 127.126.0.0/16 is in use")]
    NoFreeNetwork,
    /// It runs already, with other settings than those asked for.
    #[error("skep runs already (process {pid}) with other settings: {differences}")]
    OtherSettings {
        /// The supervisor.
        pid: u32,
        /// `what: running → asked`, separated by commas.
        differences: String,
    },
    /// Another process holds the lock but does not answer.
    #[error("process {pid} holds {} but does not answer", lock.display())]
    Locked {
        /// The process in the lock file, 0 when unknown.
        pid: u32,
        /// The lock file.
        lock: PathBuf,
    },
    /// Nothing runs on this data directory.
    #[error("skep does not run on {}", path.display())]
    NotRunning {
        /// The data directory.
        path: PathBuf,
    },
    /// A program of the hub ends again and again.
    #[error("{component} keeps exiting ({how}){}", tail_of(tail))]
    ChildExits {
        /// Its name.
        component: String,
        /// Exit code or signal.
        how: String,
        /// The last lines of its log.
        tail: String,
    },
    /// A program of the hub runs but does not become ready.
    #[error("{component} is not ready after {seconds} s{}", tail_of(tail))]
    ChildNotReady {
        /// Its name.
        component: String,
        /// How long it had.
        seconds: u64,
        /// The last lines of its log.
        tail: String,
    },
    /// A program cannot be started or watched.
    #[error("{component} cannot be started: {reason}")]
    Spawn {
        /// Its name.
        component: String,
        /// What the system said.
        reason: String,
    },
    /// Processes are left after the time for an ordered stop.
    #[error("still running after {seconds} s: {processes}")]
    StillRunning {
        /// How long they had.
        seconds: u64,
        /// Names and process ids.
        processes: String,
    },
    /// The hub's API refused or did not answer something that Skep needs at start.
    #[error("hub API: {what}: {reason}")]
    Hub {
        /// The object or the step.
        what: String,
        /// What the API said.
        reason: String,
    },
    /// A certificate or key cannot be made or read.
    #[error("certificates: {0}")]
    Pki(String),
    /// An option contradicts how the installation works.
    #[error("{0}")]
    Option(String),
    /// The background process ended before it was ready and left no reason.
    #[error("the background process ended before it was ready{}", tail_of(tail))]
    DaemonDied {
        /// The last lines of its log.
        tail: String,
    },
    /// It is just being stopped.
    #[error("skep is being stopped (process {pid})")]
    Stopping {
        /// The supervisor.
        pid: u32,
    },
    /// The start was interrupted; everything is stopped again.
    #[error("the start was interrupted")]
    Interrupted,
    /// The background process reported why it cannot run.
    #[error("{message}")]
    Daemon {
        /// Its code.
        code: Code,
        /// Its message.
        message: String,
        /// Its advice.
        help: String,
    },
    /// Kubernetes' or etcd's programs cannot be had.
    #[error(transparent)]
    Engine(#[from] skep_engine::Error),
    /// A part of this process (operator, gateway, virtual node) cannot start.
    #[error("{part} cannot start: {reason}")]
    Part {
        /// Which.
        part: String,
        /// Why.
        reason: String,
    },
}

fn tail_of(tail: &str) -> String {
    if tail.is_empty() { String::new() } else { format!("; its last lines:\n{tail}") }
}

impl Error {
    /// Wraps an I/O error so that a full disk is told apart from a missing permission.
    pub fn io(path: impl Into<PathBuf>, source: io::Error) -> Self {
        let path = path.into();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                let free_mib = crate::disk::free_mib(&path).unwrap_or(0);
                Self::DiskFull { path, free_mib }
            }
            _ => Self::DataDir { path, source },
        }
    }

    /// The code; its page is `docs/errors/<code>.md`.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::NoDataDir | Self::DataDir { .. } => 2001,
            Self::WrongOwner { .. } => 2002,
            Self::NotADataDir { .. } => 2003,
            Self::Format { .. } => 2004,
            Self::Damaged { .. } => 2005,
            Self::DiskFull { .. } => 2006,
            Self::PortInUse { .. } => 2007,
            Self::NetworkInUse { .. } | Self::NoFreeNetwork => 2008,
            Self::OtherSettings { .. } => 2009,
            Self::Locked { .. } | Self::Stopping { .. } => 2010,
            Self::NotRunning { .. } => 2011,
            Self::ChildExits { .. } | Self::Spawn { .. } => 2012,
            Self::ChildNotReady { .. } => 2013,
            Self::StillRunning { .. } => 2014,
            Self::Hub { .. } => 2015,
            Self::Pki(_) => 2016,
            Self::Option(_) => 2017,
            Self::DaemonDied { .. } | Self::Interrupted => 2018,
            Self::Part { .. } => 2019,
            Self::Daemon { code, .. } => return *code,
            Self::Engine(error) => return error.code(),
        })
    }

    /// What to do next, one sentence or two; empty when the message says it.
    pub fn help(&self) -> String {
        match self {
            Self::NoDataDir => "say where with --data-dir DIR or SKEP_DATA_DIR".into(),
            Self::DataDir { .. } => {
                "make the directory writable for this user, or use another one with --data-dir".into()
            }
            Self::WrongOwner { .. } => {
                "run skep as the owner, or use another directory with --data-dir".into()
            }
            Self::NotADataDir { .. } => "name an empty or a new directory with --data-dir".into(),
            Self::Format { found, known, .. } if found > known => {
                "use the newer skep that wrote it, or another directory with --data-dir".into()
            }
            Self::Format { .. } => {
                "use the skep version that wrote it to bring it up to date, or another directory".into()
            }
            Self::Damaged { .. } => "put the file back from a copy; its page says what is in it".into(),
            Self::DiskFull { .. } => {
                let needed = crate::disk::NEEDED_MIB;
                format!(
                    "free some space (at least {needed} MiB are needed), then run `skep up` again: no data is lost"
                )
            }
            Self::PortInUse { .. } => {
                "stop the other program or choose another port, then run `skep up` again".into()
            }
            Self::NetworkInUse { .. } => {
                "stop the other installation, or move this one with --network 127.N.0.0/16".into()
            }
            Self::NoFreeNetwork => "stop an installation that is not needed".into(),
            Self::OtherSettings { .. } => {
                "run `skep down` first, or leave the options out to use it as it is".into()
            }
            Self::Stopping { .. } => "wait until it is stopped, then run `skep up` again".into(),
            Self::Interrupted => "run `skep up` again: it goes on where it was".into(),
            Self::Locked { .. } => "end that process, then run `skep up` again".into(),
            Self::NotRunning { .. } => "start it with `skep up`".into(),
            Self::ChildExits { component, .. } | Self::ChildNotReady { component, .. } => {
                format!("see `skep logs {component}` for more, then run `skep up` again")
            }
            Self::Spawn { .. } => "check that the program can be run: `skep engine list`".into(),
            Self::StillRunning { .. } => "run `skep down` again, or end these processes".into(),
            Self::Hub { .. } => {
                "see `skep logs kube-apiserver` and `skep logs skep`, then run `skep up` again".into()
            }
            Self::Pki(_) => "see its page: keys of the hub can be made again".into(),
            Self::Option(_) => "change the option".into(),
            Self::DaemonDied { .. } => "see `skep logs skep`, or run `skep up --foreground`".into(),
            Self::Part { .. } => "see `skep logs skep`, then run `skep up` again".into(),
            Self::Daemon { help, .. } => help.clone(),
            // Its messages say it already.
            Self::Engine(_) => String::new(),
        }
    }
}
