//! A process that ends when this one ends, whatever ends this one.
//!
//! Each process is the child of a small shell that waits on a pipe from us. The
//! kernel closes the pipe when we are gone, killed or not; the shell then kills
//! the process and removes its directory. The shell has a process group of its
//! own, so that Ctrl-C in a terminal does not take it before it has done so.

use std::{
    fs::{self, File},
    io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};
use tokio::time::{sleep, timeout};

use crate::PATIENCE;

/// `$1` is the directory to remove, the rest is the command. A background command of a shell
/// without job control gets /dev/null as its input, so the pipe is the shell's alone.
const SCRIPT: &str = r#"
dir=$1; shift
"$@" &
child=$!
echo "$child" > "$PID_FILE"
read -r _ignored
kill -KILL "$child" 2>/dev/null
wait "$child" 2>/dev/null
rm -rf -- "$dir"
"#;

/// Pause between two looks at programs that do not tell.
const LOOK_AGAIN: Duration = Duration::from_millis(15);
/// How much of a log an error shows.
const TAIL: usize = 12_000;

/// A guarded process.
#[derive(Debug)]
pub struct Guarded {
    name: String,
    log: PathBuf,
    pid_file: PathBuf,
    shell: Child,
}

impl Guarded {
    /// Starts `program` with its output in `<directory>/<name>.log`; the directory is removed at the end.
    ///
    /// # Errors
    /// The log cannot be written or the shell cannot be started.
    pub fn spawn(name: &str, directory: &Path, program: &Path, arguments: &[String]) -> io::Result<Self> {
        let log = directory.join(format!("{name}.log"));
        let pid_file = directory.join(format!("{name}.pid"));
        let output = File::create(&log)?;
        let shell = Command::new("/bin/sh")
            .arg("-c")
            .arg(SCRIPT)
            .arg("skep-test-guard")
            .arg(directory)
            .arg(program)
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PID_FILE", &pid_file)
            // A collection per doubling is wasted on a process that lives for seconds.
            .env("GOGC", "200")
            .current_dir(directory)
            .stdin(Stdio::piped())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()?;
        Ok(Self { name: name.to_owned(), log, pid_file, shell })
    }

    /// The name it was started with.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Process id, once it runs.
    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(&self.pid_file).ok()?.trim().parse().ok()
    }

    /// `true` if it ran and runs no more.
    pub fn has_ended(&self) -> bool {
        self.pid().is_some_and(|pid| match fs::read_to_string(format!("/proc/{pid}/stat")) {
            // A zombie waits for the shell, which waits for us.
            Ok(stat) => stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')),
            Err(_) => true,
        })
    }

    /// The end of its log.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes[bytes.len().saturating_sub(TAIL)..]).into_owned();
        format!("--- {} ---\n{text}", self.log.display())
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // The shell has little left to do; waiting for it makes "gone" mean gone.
        let _ = self.shell.wait();
    }
}

/// Looks until it is so.
///
/// # Errors
/// One of the processes has ended before, or [`PATIENCE`] is over; with what they wrote.
pub async fn until<F: Future<Output = bool>>(
    processes: &[Guarded],
    what: &str,
    mut so: impl FnMut() -> F,
) -> Result<()> {
    let looking = async {
        while !so().await {
            if let Some(dead) = processes.iter().find(|process| process.has_ended()) {
                bail!("no {what}: {} ended:\n{}", dead.name(), dead.log_tail());
            }
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    };
    timeout(PATIENCE, looking).await.unwrap_or_else(|_| {
        let logs: Vec<_> = processes.iter().map(Guarded::log_tail).collect();
        bail!("no {what} in {PATIENCE:?}:\n{}", logs.join("\n"))
    })
}
