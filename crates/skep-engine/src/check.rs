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
use crate::recipe::Recipe;

/// How often a busy file is tried again, and how long apart: a second in all.
const BUSY_ATTEMPTS: u32 = 50;
const BUSY_PAUSE: Duration = Duration::from_millis(20);

/// Runs the recipe's check, if it has one.
///
/// # Errors
/// [`Error::NotRunnable`] when the program does not start, does not end within `limit`, or says something else.
pub(crate) async fn version(recipe: &Recipe, staging: &Staging, limit: Duration) -> Result<()> {
    let Some(check) = &recipe.check else { return Ok(()) };
    let refuse = |why: String| Error::NotRunnable {
        program: PathBuf::from(&check.program),
        expected: check.expect.clone(),
        why,
    };
    let output = timeout(limit, run(&staging.bin().join(&check.program), &check.args))
        .await
        .map_err(|_| refuse(format!("no answer within {} s", limit.as_secs())))?
        .map_err(|e| refuse(e.to_string()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if output.status.success() && said.contains(&check.expect) {
        return Ok(());
    }
    let said = [said.trim(), String::from_utf8_lossy(&output.stderr).trim()].join(" ");
    Err(refuse(format!("{}: {}", output.status, said.trim().chars().take(200).collect::<String>())))
}

/// Runs a program to its end. A file that was written a moment ago can be busy: a thread that starts another process
/// keeps our descriptor of it open until that process has begun. There is no event to wait for.
async fn run(program: &Path, args: &[String]) -> io::Result<Output> {
    let mut attempts = BUSY_ATTEMPTS;
    loop {
        let output = Command::new(program).args(args).stdin(Stdio::null()).kill_on_drop(true).output().await;
        match output {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && attempts > 0 => attempts -= 1,
            output => return output,
        }
        sleep(BUSY_PAUSE).await;
    }
}
