//! A finished image is tried before anybody gets it: a binary for another machine, or of another version, never becomes
//! an entry of the cache.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use crate::cache::Staging;
use crate::error::{Error, Result};
use crate::recipe::{Recipe, VersionCheck};

/// How often a busy file is tried again, and how long apart: a second in all.
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Runs the recipe's checks.
///
/// # Errors
/// [`Error::NotRunnable`] when a program does not start, does not end within `limit`, or says something else.
pub(crate) async fn versions(recipe: &Recipe, staging: &Staging, limit: Duration) -> Result<()> {
    for check in &recipe.checks {
        version(check, staging, limit).await?;
    }
    Ok(())
}

async fn version(check: &VersionCheck, staging: &Staging, limit: Duration) -> Result<()> {
    let refuse = |why: String| Error::NotRunnable {
        program: PathBuf::from(&check.program),
        expected: check.expect.clone(),
        why,
    };
    let output = timeout(limit, run(&staging.bin().join(&check.program), &check.args))
        .await
        .map_err(|_| refuse(format!("no answer within {} s", limit.as_secs())))?
        .map_err(|e| refuse(e.to_string()))?;
    let said = [String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)];
    if output.status.success() && said.iter().any(|said| said.contains(&check.expect)) {
        return Ok(());
    }
    let said = said.join(" ");
    Err(refuse(format!("{}: {}", output.status, said.trim().chars().take(200).collect::<String>())))
}

/// Runs a program to its end. A file that was written a moment ago can be busy: a thread that starts another process
/// keeps our descriptor of it open until that process has begun. There is no event to wait for. It gets no environment: some
/// programs take orders from it (CNI plugins), and the answer must not depend on who asks.
async fn run(program: &Path, args: &[String]) -> io::Result<Output> {
    let mut attempts = BUSY_ATTEMPTS;
    loop {
        let mut command = Command::new(program);
        command.args(args).env_clear().stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await;
        match output {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts > 0 => attempts -= 1,
            output => return output,
        }
        sleep(BUSY_PAUSE).await;
    }
}
