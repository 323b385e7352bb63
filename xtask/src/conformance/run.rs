//! One run of the suite.

use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

use super::binaries::Binaries;
use super::suite::Suite;
use super::table::clock;
use super::way::Way;

/// The runner's report in the output directory.
pub const JSON: &str = "report.json";
const JUNIT: &str = "junit.xml";
const LOG: &str = "log.txt";

/// How long after its own timeout the runner may take to write its report.
const GRACE: Duration = Duration::from_secs(120);
/// How often a run says how far it is.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// What runs against what.
pub struct Run<'a> {
    pub suite: &'a Suite,
    pub binaries: &'a Binaries,
    pub way: &'a Way,
    pub out: &'a Path,
}

impl Run<'_> {
    /// Runs the suite, gives its wall time. A test that fails is no error: the report says so.
    pub async fn execute(&self) -> anyhow::Result<Duration> {
        for stale in [JSON, JUNIT] {
            // A report of an earlier run must never be taken for that of this one.
            let path = self.out.join(stale);
            if path.exists() {
                std::fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
            }
        }
        let log = self.out.join(LOG);
        let mut log =
            std::fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let started = Instant::now();
        let mut child = self.command(log.try_clone()?).spawn().context("cannot start the test runner")?;
        let mut stdout = child.stdout.take().context("the test runner has no output")?;
        let (mut progress, mut buffer) = (Progress::default(), vec![0; 16 << 10]);
        let mut ticks = tokio::time::interval(HEARTBEAT);
        let late = tokio::time::sleep(self.suite.timeout + GRACE);
        tokio::pin!(late);
        let status = loop {
            tokio::select! {
                read = stdout.read(&mut buffer) => match read.unwrap_or(0) {
                    0 => break tokio::time::timeout(GRACE, child.wait()).await.context("the test runner does not end")??,
                    n => {
                        log.write_all(&buffer[..n])?;
                        progress.take(&buffer[..n]);
                    }
                },
                _ = ticks.tick() => eprintln!(
                    "conformance: {} of {} tests done, {} failed so far [{}]",
                    progress.done, self.suite.tests.len(), progress.failed, clock(started.elapsed())
                ),
                () = &mut late => anyhow::bail!(
                    "the test runner did not end {} after its own timeout", clock(GRACE)
                ),
            }
        };
        // 1: tests failed. Anything else did not get as far as a report.
        if status.code().is_none_or(|code| code > 1) {
            eprintln!(
                "conformance: the test runner ended with {status}; see {}",
                self.out.join(LOG).display()
            );
        }
        Ok(started.elapsed())
    }

    fn command(&self, stderr: std::fs::File) -> Command {
        let mut command = match &self.way.hosts {
            None => Command::new(&self.binaries.ginkgo),
            Some(hosts) => {
                let mut command = Command::new("unshare");
                command
                    .args(["--mount", "--propagation", "slave", "sh", "-c"])
                    .arg(r#"mount --bind "$0" /etc/hosts && exec "$@""#)
                    .args([hosts, &self.binaries.ginkgo]);
                command
            }
        };
        command
            .args(["run", "--no-color", "--keep-going"])
            .arg(format!("--procs={}", self.suite.procs))
            .arg(format!("--timeout={}s", self.suite.timeout.as_secs()))
            .arg(format!("--output-dir={}", self.out.display()))
            .args([format!("--json-report={JSON}"), format!("--junit-report={JUNIT}")])
            .arg(format!("--focus={}", self.suite.focus()))
            .arg(&self.binaries.e2e)
            .args(["--", "--provider=skeleton"])
            .arg(format!("--kubeconfig={}", self.way.kubeconfig.display()))
            .arg(format!("--kubectl-path={}", self.binaries.kubectl.display()))
            .arg("--dump-logs-on-failure=false")
            .arg(format!("--report-dir={}", self.out.display()))
            // The kubectl tests must not find another cluster.
            .env("KUBECONFIG", &self.way.kubeconfig)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(true);
        if !self.suite.nodes {
            // Without both of these the suite waits for a node before the first test.
            command.args(["--allowed-not-ready-nodes=-1", "--num-nodes=0"]);
        }
        command
    }
}

/// Counts finished tests in the runner's output: each is announced by a bullet. After that of one that passed comes nothing
/// or a time, after another one a word: `[FAILED]`, `[PANICKED]`, `[TIMEDOUT]` …
#[derive(Debug, Default)]
struct Progress {
    done: usize,
    failed: usize,
    tail: Vec<u8>,
}

impl Progress {
    fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let bullet = "•".as_bytes();
        let word = " [F".len();
        let mut at = 0;
        // What is left over may be the beginning of a bullet and its word.
        while at + bullet.len() + word <= self.tail.len() {
            let rest = &self.tail[at..];
            if let Some(rest) = rest.strip_prefix(bullet) {
                self.done += 1;
                self.failed += usize::from(rest.starts_with(b" [") && rest[2].is_ascii_uppercase());
                at += bullet.len();
            } else {
                at += 1;
            }
        }
        self.tail.drain(..at);
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn progress_in_any_pieces() {
        let text = "SSS•S••\n• [FAILED] [1.0 seconds]\n• [PANICKED]\n• [4.2 seconds]\nSS".to_owned();
        let text = text + &"S".repeat(50);
        for size in [1, 2, 3, 7, 1000] {
            let mut progress = Progress::default();
            text.as_bytes().chunks(size).for_each(|piece| progress.take(piece));
            assert_eq!((progress.done, progress.failed), (6, 2), "pieces of {size}");
            assert!(progress.tail.len() < 16);
        }
    }
}
