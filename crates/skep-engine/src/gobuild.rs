//! Builds with the user's Go.
//!
//! Guarantees: the result does not depend on the user's Go settings, except for those that say where modules and
//! toolchains come from; everything Go says is in a log file; a build that goes on is heard of every few seconds; a build
//! that nobody waits for any more is told to stop.

mod child;
mod output;
mod toolchain;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Instant;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use crate::cache::Staging;
use crate::config::Limits;
use crate::error::{Error, Result};
use crate::progress::{HEARTBEAT, Reporter};
use crate::recipe::{Output, Recipe, Verb};
use child::Interrupt;
use output::State;
use toolchain::Toolchain;

/// What a build needs besides its recipe.
pub(crate) struct Build<'a> {
    pub recipe: &'a Recipe,
    pub go: Option<&'a Path>,
    pub limits: &'a Limits,
    /// The module's sources on disk.
    pub sources: PathBuf,
    pub log: PathBuf,
    /// The cache: Go's own caches go there when there is no home directory.
    pub cache: &'a Path,
    /// Why the official release was not used, as a sentence that starts with a space; or empty.
    pub no_release: &'a str,
}

impl Build<'_> {
    /// Builds all outputs into the staging directory. Gives the Go version that did it.
    pub(crate) async fn run(&self, staging: &Staging, reporter: &Reporter<'_>) -> Result<String> {
        let needed = self.recipe.module.go_version();
        let toolchain = Toolchain::find(self, needed).await?;
        if toolchain.version < needed {
            reporter.note(format!(
                "Go {} is older than {needed}: go fetches a newer toolchain for this build",
                toolchain.version
            ));
        }
        let mut log = File::create(&self.log).map_err(Error::io("write", &self.log, 1 << 20))?;
        let deadline = Instant::now() + self.limits.build;
        for output in &self.recipe.outputs {
            self.one(output, staging, &toolchain, &mut log, deadline, reporter).await?;
            for link in &output.links {
                staging.link(link, &output.file)?;
            }
        }
        Ok(format!("go {}", toolchain.version))
    }

    async fn one(
        &self,
        output: &Output,
        staging: &Staging,
        toolchain: &Toolchain,
        log: &mut File,
        deadline: Instant,
        reporter: &Reporter<'_>,
    ) -> Result<()> {
        let target = staging.bin().join(&output.file);
        let mut command = self.command(output, &target, toolchain);
        let _ = writeln!(log, "# {:?}", command.as_std());
        let to_log = log.try_clone().map_err(Error::io("write", &self.log, 1 << 20))?;
        command.stdin(Stdio::null()).stdout(Stdio::from(to_log)).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Error::io("run", &toolchain.go, 0))?;
        let mut interrupt = Interrupt::new(&child);
        let mut said = child.stderr.take();

        let mut state = State::new(output);
        let mut ticks = tokio::time::interval(HEARTBEAT);
        let late = tokio::time::sleep_until(deadline.into());
        tokio::pin!(late);
        let mut buffer = [0_u8; 8192];
        let status: ExitStatus = loop {
            tokio::select! {
                read = read(&mut said, &mut buffer), if said.is_some() => match read {
                    // A pipe that cannot be read is as good as closed.
                    Ok(0) | Err(_) => said = None,
                    Ok(n) => {
                        let _ = log.write_all(&buffer[..n]);
                        if state.take(&buffer[..n]) {
                            reporter.phase(state.phase());
                        }
                    }
                },
                // A compiler that outlives `go` may keep the pipe open: the exit counts, not the pipe.
                status = child.wait() => break status.map_err(Error::io("wait for", &toolchain.go, 0))?,
                _ = ticks.tick() => reporter.phase(state.phase()),
                () = &mut late => {
                    interrupt.now_and_wait(&mut child).await;
                    return Err(Error::BuildTimeout {
                        image: self.recipe.image.clone(),
                        limit: self.limits.build,
                        log: self.log.clone(),
                    });
                }
            }
        };
        interrupt.disarm();
        // What was still in the pipe when it ended.
        while let Some(pipe) = said.as_mut() {
            match tokio::time::timeout(std::time::Duration::from_secs(1), pipe.read(&mut buffer)).await {
                Ok(Ok(n)) if n > 0 => {
                    let _ = log.write_all(&buffer[..n]);
                    if state.take(&buffer[..n]) {
                        reporter.phase(state.phase());
                    }
                }
                _ => break,
            }
        }
        state.finish();
        if status.success() && fs::metadata(&target).is_ok_and(|m| m.len() > 0) {
            return Ok(());
        }
        Err(self.explain(status, state, toolchain))
    }

    /// The call of Go. Everything a user's settings could break is set here; where modules and toolchains come from
    /// (GOPROXY, GOSUMDB, GOPRIVATE, GOTOOLCHAIN, GOMODCACHE, proxies) is left alone.
    fn command(&self, output: &Output, target: &Path, toolchain: &Toolchain) -> Command {
        let mut command = Command::new(&toolchain.go);
        command.current_dir(&self.sources);
        match output.verb {
            Verb::Build => command.args(["build", "-v"]),
            // For `go test`, -v would be about running tests. Vetting other people's code takes longer than linking it.
            Verb::Test => command.args(["test", "-c", "-vet=off"]),
        };
        command.args(["-mod=readonly", "-trimpath", "-buildvcs=false"]);
        if let Some(modfile) = &self.recipe.module.modfile {
            command.arg(format!("-modfile={modfile}"));
        }
        if !output.tags.is_empty() {
            command.arg(format!("-tags={}", output.tags.join(",")));
        }
        command.arg(format!("-ldflags=-s -w {}", output.ldflags).trim_end());
        command.arg("-o").arg(target).arg(&output.package);
        toolchain::neutral(&mut command)
            .env("CGO_ENABLED", "0")
            .env("GOFLAGS", toolchain.flags())
            .env("GO111MODULE", "on")
            .env("GOOS", "linux")
            .env("GOARCH", toolchain::architecture());
        // Without a home directory Go does not know where its caches are.
        for (variable, dir, unless) in [
            ("GOCACHE", "go-build", ["GOCACHE", "XDG_CACHE_HOME", "HOME"]),
            ("GOPATH", "go", ["GOPATH", "GOMODCACHE", "HOME"]),
        ] {
            if unless.iter().all(|name| std::env::var_os(name).is_none_or(|v| v.is_empty())) {
                command.env(variable, self.cache.join(dir));
            }
        }
        command
    }

    /// Finds the reason that a person can do something about.
    fn explain(&self, status: ExitStatus, state: State, toolchain: &Toolchain) -> Error {
        let (image, log) = (self.recipe.image.clone(), self.log.clone());
        let tail = state.tail();
        match output::diagnose(&tail) {
            output::Diagnosis::DiskFull => Error::DiskFull {
                path: self.cache.to_owned(),
                // Go's own cache for one minor.
                need_bytes: self.recipe.need_bytes + (4 << 30),
            },
            output::Diagnosis::Toolchain => toolchain.too_old(self, ", and fetching a newer one failed"),
            output::Diagnosis::Modules => Error::ModulesUnreachable { image, log, tail },
            output::Diagnosis::Other if status.success() => {
                Error::BuildFailed { image, status: "go made no program".to_owned(), log, tail }
            }
            output::Diagnosis::Other => {
                Error::BuildFailed { image, status: format!("go: {status}"), log, tail }
            }
        }
    }
}

async fn read(pipe: &mut Option<tokio::process::ChildStderr>, buffer: &mut [u8]) -> std::io::Result<usize> {
    match pipe {
        Some(pipe) => pipe.read(buffer).await,
        None => Ok(0),
    }
}
