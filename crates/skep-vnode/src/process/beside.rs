//! Commands beside the main process of a container: probes, hooks, `kubectl exec`. They see what the container sees:
//! its environment, working directory, mounts and programs.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;

use super::cgroup::Cgroup;
use super::handle::{Exit, Process};
use super::marker::{HELPER_VARIABLE, Marker, VARIABLE};
use super::paths::PathMap;
use super::program;
use super::spawn::{Spawn, Stream};
use crate::backend::ImageRoot;

/// Bytes of output that are kept (`maxRespBodyLength` upstream, for probes of all kinds).
const OUTPUT: usize = 10 * 1024;
/// How long output is waited for after the command has ended: something it left behind may hold the pipe.
const AFTER: Duration = Duration::from_millis(200);

/// Where such commands run.
#[derive(Clone, Debug)]
pub(super) struct Beside {
    /// Of the container.
    pub marker: Marker,
    /// Of the container.
    pub environment: Vec<(OsString, OsString)>,
    /// Of the container.
    pub directory: PathBuf,
    /// Its mounts.
    pub map: PathMap,
    /// Its programs.
    pub image: ImageRoot,
    /// Its cgroup.
    pub cgroup: Option<Cgroup>,
}

/// What came of a command.
#[derive(Debug)]
pub(super) struct Ran {
    pub exit: Exit,
    pub timed_out: bool,
    /// Both outputs, as far as they are kept.
    pub output: String,
}

impl Beside {
    /// A command ready to be started. Errors are the texts of container runtimes.
    pub(super) fn command(&self, words: &[String]) -> Result<Spawn, String> {
        let words: Vec<String> = words.iter().map(|word| self.map.apply(word)).collect();
        let path = self.environment.iter().find(|(name, _)| name == "PATH");
        let path = path.map(|(_, value)| value.to_string_lossy().into_owned()).unwrap_or_default();
        let line = program::resolve(&words, &self.image, &path, &self.directory)?;
        let cgroup = self.cgroup.as_ref().map(Cgroup::entry).transpose();
        let own = self.environment.iter().filter(|(name, _)| name != VARIABLE && name != HELPER_VARIABLE);
        Ok(Spawn::new(line.program, &self.marker)
            .helper()
            .name(line.name)
            .args(line.args)
            .env(own.cloned())
            .directory(&self.directory)
            .cgroup(cgroup.map_err(|e| format!("entering the cgroup: {e}"))?))
    }

    /// Runs a command to its end, or kills it when that takes too long.
    pub(super) async fn run(&self, words: &[String], deadline: Duration) -> Result<Ran, String> {
        let say = |error: std::io::Error| error.to_string();
        let (reader, writer) = std::io::pipe().map_err(say)?;
        let mut reader = pipe::Receiver::from_owned_fd(reader.into()).map_err(say)?;
        let command =
            self.command(words)?.stdout(Stream::Fd(OwnedFd::from(writer))).stderr(Stream::SameAsOutput);
        let process = start(command).await?;
        let mut output = Vec::new();
        let exit = {
            let work = async {
                let end = process.wait();
                tokio::pin!(end);
                tokio::select! {
                    exit = &mut end => exit,
                    // All who could write have closed it; the end is near.
                    _ = swallow(&mut reader, &mut output) => end.await,
                }
            };
            tokio::time::timeout(deadline, work).await
        };
        let (exit, timed_out) = match exit {
            Ok(exit) => (exit, false),
            Err(_) => (super::stop::kill(&process).await, true),
        };
        let _ = tokio::time::timeout(AFTER, swallow(&mut reader, &mut output)).await;
        Ok(Ran { exit, timed_out, output: String::from_utf8_lossy(&output).into_owned() })
    }
}

/// Starts a process where blocking is allowed.
pub(super) async fn start(command: Spawn) -> Result<Process, String> {
    let started = tokio::task::spawn_blocking(move || command.start()).await;
    started.map_err(|e| e.to_string())?.map_err(|e| e.to_string())
}

/// Reads to the end, keeping the beginning.
async fn swallow(reader: &mut pipe::Receiver, output: &mut Vec<u8>) {
    let mut chunk = [0; 4096];
    while let Ok(got) = reader.read(&mut chunk).await {
        if got == 0 {
            return;
        }
        let room = OUTPUT.saturating_sub(output.len()).min(got);
        output.extend_from_slice(chunk.get(..room).unwrap_or_default());
    }
}

#[cfg(test)]
pub(super) fn for_tests(image: ImageRoot) -> Beside {
    let environment = [("PATH", "/usr/bin:/bin"), ("WHO", "me")].map(|(k, v)| (k.into(), v.into()));
    Beside {
        marker: Marker::new(&format!("beside-{}", std::process::id())),
        environment: environment.into(),
        directory: "/".into(),
        map: PathMap::new(),
        image,
        cgroup: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn runs_and_tells_what_came_of_it() {
        let beside = for_tests(ImageRoot { host_programs: true, ..ImageRoot::default() });
        let run = async |script: &str, deadline: u64| {
            let words = ["sh", "-c", script].map(str::to_owned);
            beside.run(&words, Duration::from_millis(deadline)).await.unwrap()
        };
        let ran = run("echo $WHO; echo err >&2; exit 3", 20_000).await;
        assert_eq!((ran.exit, ran.output.as_str(), ran.timed_out), (Exit::Code(3), "me\nerr\n", false));
        let ran = run("yes | head -c 100000", 20_000).await;
        assert_eq!((ran.exit, ran.output.len()), (Exit::Code(0), OUTPUT));
        let ran = run("echo before; sleep 1000", 300).await;
        assert_eq!((ran.exit, ran.timed_out, ran.output.as_str()), (Exit::Signal(9), true, "before\n"));
        let ran = run("sleep 1000 & echo started", 20_000).await;
        assert_eq!((ran.exit, ran.output.as_str()), (Exit::Code(0), "started\n"));
        let error = beside.run(&["nosuch".into()], Duration::from_secs(1)).await.unwrap_err();
        assert_eq!(error, "exec: \"nosuch\": executable file not found in $PATH");
    }
}
