//! Starting the first process of a machine.
//!
//! The shell that becomes the machine enters the machine's cgroups, says so and waits for a word. Only then is its number
//! written down and the word given. So a process that is killed in between leaves a shell that ends by itself, and whatever
//! of a machine runs is in its cgroups, where the next process finds it. A machine counts as running once its first process
//! is written down; everything else in its cgroups is killed before the next start.

use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::timeout,
};

use super::{
    cable,
    cgroup::Hierarchies,
    console, files,
    hands::{Hands, SEARCHED, find},
    names::Names,
    process::{self, ProcessId},
    programs::Directories,
    record::Record,
};
use crate::{Error, Result};

/// What a machine runs: `<skep> node agent --join FILE --host FILE`. The only place that says so is the last line of
/// `inside.sh`.
const ENTER: &str = include_str!("launch/enter.sh");
const SETTLE: &str = include_str!("launch/settle.sh");
const INSIDE: &str = include_str!("launch/inside.sh");
/// Shells that can run [`ENTER`]. Debian's `sh` cannot close descriptors above 9, which bash and Alpine's `sh` can.
const SHELLS: [&str; 2] = ["bash", "sh"];
/// Where a machine sees the directory with its configuration, and what else [`INSIDE`] shows it.
pub(super) const SHOWN: &str = "/run/skep";
/// Directory for everything the agent writes, as the machine sees it.
pub(super) const STATE: &str = "/var/lib/skep";
/// The same directory, below the machine's.
pub(super) const OWN_STATE: &str = "own/var/lib/skep";
/// Directories of a machine's disk, with their permissions. The first part is the machine's directory's `own`.
const OWN: [(&str, u32); 4] =
    [("tmp", 0o1777), ("var/lib", 0o755), ("var/lib/skep", 0o700), ("var/log", 0o755)];
/// Where the first process of a machine is written down.
const PID: &str = "pid.json";
/// A few mounts on a host that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// What a start needs.
pub(super) struct Start<'a> {
    pub hands: &'a Hands,
    pub hierarchies: &'a Hierarchies,
    pub dir: &'a Path,
    pub record: &'a Record,
    pub names: &'a Names,
    pub skep: &'a Path,
    pub programs: &'a Directories,
}

/// The first process of a machine, if it was written down and runs.
pub(super) fn running(dir: &Path) -> Option<process::Handle> {
    let id: ProcessId = serde_json::from_slice(&std::fs::read(dir.join(PID)).ok()?).ok()?;
    id.open()
}

/// Whether the machine in this directory was ever started.
pub(super) fn was_started(dir: &Path) -> bool {
    dir.join(PID).exists()
}

impl Start<'_> {
    /// Starts the machine. Its namespace and cgroups are there, and nothing is in them.
    pub(super) async fn go(&self) -> Result<()> {
        for (own, mode) in OWN {
            let own = self.dir.join("own").join(own);
            self.hands.make_dir(&own, mode)?;
            // The mode of a new directory is cut by our own mask.
            let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
            std::fs::set_permissions(&own, mode).map_err(Error::file("set the mode of", &own))?;
        }
        self.hands.step("start the first process")?;
        let mut child = self.spawn().map_err(|error| self.failed(error.to_string()))?;
        match timeout(DEADLINE, self.see_through(&mut child)).await {
            Ok(Ok(())) => {}
            Ok(Err(Failure::Own(error))) => return Err(error),
            Ok(Err(Failure::Ended)) => return Err(self.failed(describe(child).await)),
            Err(_) => return Err(self.failed(format!("it did not come up in {} s", DEADLINE.as_secs()))),
        }
        let machine = self.record.name.clone();
        // Somebody has to take note of its end, or it stays in the process table.
        tokio::spawn(async move {
            let status =
                child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
            tracing::info!(machine, status, "machine ended");
        });
        Ok(())
    }

    async fn see_through(&self, child: &mut Child) -> Result<(), Failure> {
        let (Some(stdout), Some(mut stdin)) = (child.stdout.take(), child.stdin.take()) else {
            return Err(Failure::Ended);
        };
        let mut said = BufReader::new(stdout).lines();
        expect(&mut said, "entered").await?;
        self.hands.step("let it go on").map_err(Failure::Own)?;
        stdin.write_all(b"go\n").await.map_err(|_| Failure::Ended)?;
        expect(&mut said, "up").await?;
        let first = self.first_process().map_err(Failure::Own)?.ok_or(Failure::Ended)?;
        let text = files::json(&first).map_err(Failure::Own)?;
        self.hands.replace(&self.dir.join(PID), &text, 0o600).map_err(Failure::Own)
    }

    /// The process in the machine's cgroups that is the first one of its namespace.
    fn first_process(&self) -> Result<Option<ProcessId>> {
        let found = self.hierarchies.processes(&self.names.cgroup)?;
        Ok(found.into_iter().filter(|pid| process::is_first_of_machine(*pid)).find_map(ProcessId::of))
    }

    fn spawn(&self) -> io::Result<Child> {
        let console =
            OpenOptions::new().append(true).create(true).mode(0o600).open(self.dir.join(console::FILE))?;
        let mut command = Command::new(find("setsid").ok_or(io::ErrorKind::NotFound)?);
        command
            .arg(SHELLS.into_iter().find_map(find).ok_or(io::ErrorKind::NotFound)?)
            .args(["-c", ENTER, "skep-machine"])
            .arg(cable::namespace(self.names))
            .arg(&self.names.cgroup)
            .args(self.hierarchies.roots())
            .arg("--")
            .arg(&self.record.name)
            .arg(self.dir)
            .arg(self.skep)
            .arg(&self.programs.kubernetes)
            .arg(&self.programs.containerd)
            .arg(&self.programs.cni)
            .env_clear()
            .env("PATH", SEARCHED.join(":"))
            .env("HOME", "/root")
            .env("settle", SETTLE)
            .env("inside", INSIDE)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(console);
        command.spawn()
    }

    fn failed(&self, how: String) -> Error {
        let console = console::tail(self.dir, console::IN_ERRORS).unwrap_or_default();
        Error::Launch { machine: self.record.name.clone(), how, console }
    }
}

enum Failure {
    /// The process ended.
    Ended,
    /// We failed, and it goes on or ends by itself.
    Own(Error),
}

async fn expect(said: &mut Lines<BufReader<ChildStdout>>, word: &str) -> Result<(), Failure> {
    match said.next_line().await {
        Ok(Some(line)) if line == word => Ok(()),
        _ => Err(Failure::Ended),
    }
}

async fn describe(mut child: Child) -> String {
    // It has closed its output, so it has ended or is about to.
    match timeout(Duration::from_secs(1), child.wait()).await {
        Ok(Ok(status)) => format!("its first process ended with {status}"),
        _ => "its first process does not answer".to_owned(),
    }
}
