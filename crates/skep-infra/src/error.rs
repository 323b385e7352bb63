//! Every way an infrastructure can fail, in words for the person who has to do something about it.

use std::{io, path::PathBuf};

use skep_api::Code;

/// The result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a machine could not be made, changed or removed. [`Error::code`] names the page that explains it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The process may not do what local machines need.
    #[error("local machines need root with all rights, and this process {lacks}")]
    NotRoot {
        /// What it is or lacks, as the end of a sentence.
        lacks: String,
    },
    /// A program of the system is missing.
    #[error("local machines need the program `{program}` ({purpose}), and it is not in {searched}")]
    NoProgram {
        /// Its name.
        program: String,
        /// Package of Debian and Ubuntu that has it.
        package: &'static str,
        /// What for.
        purpose: &'static str,
        /// Where it was looked for.
        searched: String,
    },
    /// The kernel lacks something.
    #[error("local machines need {feature} of the kernel, and it does not work here: {reason}")]
    NoKernelFeature {
        /// Its name.
        feature: &'static str,
        /// What the attempt said.
        reason: String,
    },
    /// Control groups are not as they must be.
    #[error("control groups cannot be used for machines: {reason}")]
    Cgroups {
        /// What is wrong, with the path.
        reason: String,
    },
    /// A program of the system failed or took too long.
    #[error("`{command}` failed: {reason}")]
    Command {
        /// The command line, shortened.
        command: String,
        /// What it said, or that its time was over.
        reason: String,
    },
    /// A file or directory cannot be read or written.
    #[error("cannot {doing} {}: {source}", path.display())]
    File {
        /// A verb.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// Somebody else has the network of the machines.
    #[error("the machines' network {network} with bridge {bridge} is in use: {holder}")]
    NetworkInUse {
        /// The network.
        network: String,
        /// The bridge.
        bridge: String,
        /// What has been found there.
        holder: String,
    },
    /// Every network that machines may have is in use.
    #[error("all networks 198.19.N.0/24 are in use on this host")]
    NoFreeNetwork,
    /// The network is full.
    #[error("no address is free for machine {machine}: {network} has {machines} machines")]
    NoFreeAddress {
        /// Name of the machine.
        machine: String,
        /// The network.
        network: String,
        /// How many have an address.
        machines: usize,
    },
    /// Another process works with the same machines.
    #[error("{} belongs to process {pid}, which runs", data.display())]
    Locked {
        /// The data directory.
        data: PathBuf,
        /// The process; 0 when it has not said.
        pid: u32,
    },
    /// The first program of a machine did not come up.
    #[error("machine {machine} does not start: {how}{}", tail(console))]
    Launch {
        /// Name of the machine.
        machine: String,
        /// What happened.
        how: String,
        /// The end of its console.
        console: String,
    },
    /// Processes of a machine do not end.
    #[error("processes of machine {machine} do not end: {processes}")]
    StillRunning {
        /// Name of the machine.
        machine: String,
        /// Process ids and names.
        processes: String,
    },
    /// The order cannot be carried out by anybody.
    #[error("machine {machine} cannot be made: {why}")]
    BadOrder {
        /// Name of the machine, or its uid.
        machine: String,
        /// What is wrong with it.
        why: String,
    },
    /// The node's programs cannot be had.
    #[error("programs of a node of Kubernetes {version} cannot be had: {reason}")]
    Programs {
        /// The version.
        version: String,
        /// Why.
        reason: String,
    },
    /// Another call for the same machine has not ended.
    #[error("machine {machine} is busy: {why}")]
    Busy {
        /// Name or uid of the machine.
        machine: String,
        /// With what.
        why: &'static str,
    },
    /// There is no such machine.
    #[error("there is no machine with uid {uid}")]
    NoMachine {
        /// The uid.
        uid: String,
    },
    /// Its infrastructure cannot do this.
    #[error("machine {uid} cannot be {what} from here: somebody brought it")]
    NotSupported {
        /// The uid.
        uid: String,
        /// What cannot be done, as a participle.
        what: &'static str,
    },
    /// The invitation of a machine that somebody is to bring cannot be kept or read.
    #[error("the invitation of machine {uid} cannot be kept: {reason}")]
    Invitation {
        /// The uid.
        uid: String,
        /// What happened.
        reason: String,
    },
    /// A file of ours cannot be understood.
    #[error("{} is damaged: {reason}", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

fn tail(console: &str) -> String {
    let console = console.trim();
    if console.is_empty() { String::new() } else { format!("; the end of its console:\n{console}") }
}

impl Error {
    /// The code; its page is `docs/errors/<code>.md`.
    pub fn code(&self) -> Code {
        Code::new(match self {
            Self::NotRoot { .. } => 8030,
            Self::NoProgram { .. } => 8031,
            Self::NoKernelFeature { .. } => 8032,
            Self::Cgroups { .. } => 8033,
            Self::Command { .. } => 8034,
            Self::File { .. } => 8035,
            Self::NetworkInUse { .. } | Self::NoFreeNetwork => 8036,
            Self::NoFreeAddress { .. } => 8037,
            Self::Locked { .. } => 8038,
            Self::Launch { .. } => 8039,
            Self::StillRunning { .. } => 8040,
            Self::BadOrder { .. } => 8041,
            Self::Programs { .. } => 8042,
            Self::Busy { .. } => 8043,
            Self::NoMachine { .. } => 8044,
            Self::Damaged { .. } => 8045,
            Self::NotSupported { .. } => 8112,
            Self::Invitation { .. } => 8114,
        })
    }

    /// What to do next, in a sentence; empty when the message says it.
    pub fn help(&self) -> String {
        match self {
            Self::NotRoot { .. } => "run skep as root, or use machine classes of another provider".into(),
            Self::NoProgram { package, .. } => format!("install it (Debian and Ubuntu: package {package})"),
            Self::NoKernelFeature { .. } => {
                "load its module or use another kernel; the page says which setting it is".into()
            }
            Self::Cgroups { .. } => "see its page for what a host must offer".into(),
            Self::Command { .. } | Self::Launch { .. } => {
                "it is tried again by itself; see the machine's console for more".into()
            }
            Self::File { .. } => {
                "free some space or mend the permissions; it is tried again by itself".into()
            }
            Self::NetworkInUse { .. } => {
                "remove what has it, or delete network.json while there are no machines".into()
            }
            Self::NoFreeNetwork => "remove bridges of installations that are gone".into(),
            Self::NoFreeAddress { .. } => "delete machines, or make them on another host".into(),
            Self::Locked { .. } => "end that process, or use another data directory".into(),
            Self::StillRunning { .. } => {
                "it is tried again by itself; a process in state D waits for a disk or a mount".into()
            }
            Self::BadOrder { .. } => "mend the machine class or the machine".into(),
            Self::Programs { .. } => "see `skep engine list`; it is tried again by itself".into(),
            Self::Busy { .. } => "it is tried again by itself".into(),
            Self::NoMachine { .. } => "make it first".into(),
            Self::NotSupported { .. } => "do it on the machine itself".into(),
            Self::Invitation { .. } => "it is tried again by itself".into(),
            Self::Damaged { .. } => {
                "put the file back, or remove the machine's directory; its page says what is in it".into()
            }
        }
    }

    /// What a program said that was tried, without the command line.
    pub(crate) fn reason(&self) -> String {
        match self {
            Self::Command { reason, .. } => reason.clone(),
            other => other.to_string(),
        }
    }

    pub(crate) fn file(doing: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { doing, path, source }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    #[test]
    fn every_code_has_its_page() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/errors");
        for number in 8030..=8045 {
            let page = std::fs::read_to_string(docs.join(format!("SKEP-{number}.md"))).unwrap();
            assert!(page.starts_with(&format!("# SKEP-{number}: ")), "{page}");
            for part in ["## What it means", "## Why", "## What to do"] {
                assert!(page.contains(part), "SKEP-{number} lacks {part}");
            }
        }
        assert!(!docs.join("SKEP-8046.md").exists(), "a page for no error");
    }
}
