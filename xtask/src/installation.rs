//! An installation of Skep, used through the same command line that people use.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::Context as _;
use serde::Deserialize;

/// A running `skep up`.
pub struct Installation {
    skep: PathBuf,
    data_dir: Option<PathBuf>,
    stop_on_drop: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    pid: Option<u32>,
    data_dir: PathBuf,
}

impl Installation {
    /// Starts an installation of our own in `data_dir` and waits until it serves; stopped when it is dropped.
    pub fn up(skep: &Path, data_dir: &Path) -> anyhow::Result<Self> {
        let mut installation = Self::attach(skep, Some(data_dir))?;
        installation.stop_on_drop = true;
        Ok(installation)
    }

    /// Starts the installation in `data_dir` unless it runs already; it goes on when this is dropped.
    pub fn attach(skep: &Path, data_dir: Option<&Path>) -> anyhow::Result<Self> {
        let installation =
            Self { skep: skep.to_owned(), data_dir: data_dir.map(Path::to_owned), stop_on_drop: false };
        installation.skep(&["up"])?;
        Ok(installation)
    }

    /// Runs one `skep` command; its output goes where ours goes.
    pub fn skep(&self, args: &[&str]) -> anyhow::Result<()> {
        let status =
            self.command(args).status().with_context(|| format!("cannot run {}", self.skep.display()))?;
        anyhow::ensure!(status.success(), "skep {} failed: {status}", args.join(" "));
        Ok(())
    }

    /// Runs one `skep` command and gives its standard output.
    pub fn output(&self, args: &[&str]) -> anyhow::Result<String> {
        let output = self.command(args).stderr(Stdio::inherit()).output()?;
        anyhow::ensure!(output.status.success(), "skep {} failed: {}", args.join(" "), output.status);
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Whether a cluster of this name exists in the default project.
    pub fn has_cluster(&self, name: &str) -> anyhow::Result<bool> {
        let clusters = self.output(&["get", "clusters", "-o", "name"])?;
        Ok(clusters.lines().any(|line| line.rsplit('/').next() == Some(name)))
    }

    /// The engine's kubectl.
    pub fn kubectl(&self) -> anyhow::Result<PathBuf> {
        let image = format!("skep.dev/kube:{}", skep_engine::KUBERNETES[0]);
        Ok(Path::new(self.output(&["engine", "path", &image])?.trim()).join("kubectl"))
    }

    /// Process id of the supervisor: every other process of the installation descends from it.
    pub fn supervisor(&self) -> anyhow::Result<u32> {
        let status: Status = serde_json::from_str(&self.output(&["status", "-o", "json"])?)
            .context("skep status did not print its JSON")?;
        status.pid.context("skep status names no process: is it running?")
    }

    /// Its data directory.
    pub fn data_dir(&self) -> anyhow::Result<PathBuf> {
        let status: Status = serde_json::from_str(&self.output(&["status", "-o", "json"])?)?;
        Ok(status.data_dir)
    }

    /// Stops it and everything it started.
    pub fn down(mut self) -> anyhow::Result<()> {
        self.stop_on_drop = false;
        self.skep(&["down"])
    }

    /// One `skep` command.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.skep);
        command.args(args);
        if let Some(data_dir) = &self.data_dir {
            // Not as an option: what follows `kubectl` is kubectl's.
            command.env("SKEP_DATA_DIR", data_dir);
        }
        command
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        if self.stop_on_drop {
            let _ = self.skep(&["down"]);
        }
    }
}
