//! Every effect on the host goes through here: programs that are run, files that are written.
//!
//! One place, so that tests can stop a call before any single effect, as if the process had been killed there.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::Command,
    time::timeout,
};

use super::{files, settings::Steps};
use crate::{Error, Result};

/// No program that is called here needs longer, even on a host that is busy with hundreds of machines: what takes long is
/// waiting for the kernel's network lock.
const DEADLINE: Duration = Duration::from_secs(30);
/// Bytes of output that are kept.
const OUTPUT: u64 = 16 * 1024;
/// Characters of a command line in an error.
const SHOWN: usize = 160;
/// Where programs are besides `PATH`: a user's `PATH` may lack the directories of the administrator.
pub(super) const SEARCHED: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

/// Carries effects out.
#[derive(Clone, Default)]
pub(super) struct Hands(Option<Arc<dyn Steps>>);

impl Hands {
    pub(super) fn new(steps: Option<Arc<dyn Steps>>) -> Self {
        Self(steps)
    }

    /// Asks whether the next effect may happen.
    pub(super) fn step(&self, what: &str) -> Result<()> {
        self.0.as_ref().map_or(Ok(()), |steps| steps.before(what))
    }

    /// Runs a program and gives its output. It gets `input`, a bounded time, and is killed when nobody waits any more.
    pub(super) async fn run(&self, program: &str, args: &[&str], input: &str) -> Result<String> {
        let line = [&[program], args].concat().join(" ");
        self.step(&line)?;
        let failed = |reason: String| Error::Command { command: line.chars().take(SHOWN).collect(), reason };
        let path = find(program).ok_or_else(|| failed(format!("it is not in {}", SEARCHED.join(":"))))?;
        let mut command = Command::new(path);
        command
            .args(args)
            .env_clear()
            .env("PATH", SEARCHED.join(":"))
            .env("LC_ALL", "C")
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        match timeout(DEADLINE, talk(command, input.as_bytes())).await {
            Ok(Ok(Finished { success: true, output, .. })) => Ok(output),
            Ok(Ok(Finished { errors, .. })) => Err(failed(errors.trim().to_owned())),
            Ok(Err(error)) => Err(failed(error.to_string())),
            Err(_) => Err(failed(format!("it was stopped after {} s", DEADLINE.as_secs()))),
        }
    }

    /// Replaces a file durably.
    pub(super) fn replace(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        self.step(&format!("write {}", path.display()))?;
        files::replace(path, content, mode)
    }

    /// Replaces a file when its content is another.
    pub(super) fn replace_if_changed(&self, path: &Path, content: &[u8], mode: u32) -> Result<()> {
        if fs::read(path).is_ok_and(|old| old == content) {
            Ok(())
        } else {
            self.replace(path, content, mode)
        }
    }

    /// Makes a directory unless it is there.
    pub(super) fn make_dir(&self, path: &Path, mode: u32) -> Result<()> {
        if path.is_dir() {
            return Ok(());
        }
        self.step(&format!("make {}", path.display()))?;
        files::make_dir(path, mode)
    }

    /// Writes a value into a file of the kernel, unless it has it.
    pub(super) fn set(&self, path: &Path, value: &str) -> Result<()> {
        if fs::read_to_string(path).is_ok_and(|old| old.trim() == value) {
            return Ok(());
        }
        self.step(&format!("set {}", path.display()))?;
        fs::write(path, value).map_err(Error::file("set", path))
    }

    /// Moves a directory to another name beside it, durably.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        self.step(&format!("move {}", from.display()))?;
        let moved =
            fs::rename(from, to).and_then(|()| files::sync_dir(to.parent().unwrap_or(Path::new("/"))));
        moved.map_err(Error::file("move", from))
    }
}

struct Finished {
    success: bool,
    output: String,
    errors: String,
}

async fn talk(mut command: Command, input: &[u8]) -> io::Result<Finished> {
    let mut child = command.spawn()?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read its input says itself why.
            let _ = stdin.write_all(input).await;
        }
    };
    let ((), output, errors) = tokio::join!(feed, read(stdout), read(stderr));
    let status = child.wait().await?;
    let mut errors = errors?;
    if errors.trim().is_empty() {
        errors = status.to_string();
    }
    Ok(Finished { success: status.success(), output: output?, errors })
}

/// The beginning of what comes; the rest is thrown away, so that the program is not held up.
async fn read(from: Option<impl AsyncRead + Unpin>) -> io::Result<String> {
    let Some(mut from) = from else { return Ok(String::new()) };
    let mut kept = Vec::new();
    (&mut from).take(OUTPUT).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    Ok(String::from_utf8_lossy(&kept).into_owned())
}

/// Where a program is.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    SEARCHED.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn programs_say_what_went_wrong() {
        let hands = Hands::default();
        assert_eq!(hands.run("cat", &[], "in and out").await.unwrap(), "in and out");
        let error = hands.run("sh", &["-c", "echo broken >&2; exit 3"], "").await.unwrap_err();
        assert_eq!(error.to_string(), "`sh -c echo broken >&2; exit 3` failed: broken");
        let error = hands.run("sh", &["-c", "exit 3"], "").await.unwrap_err();
        assert!(error.to_string().contains("exit status: 3"), "{error}");
        let error = hands.run("no-such-program", &[], "").await.unwrap_err();
        assert!(error.to_string().contains("it is not in /usr/local/sbin:"), "{error}");
    }

    #[tokio::test]
    async fn output_is_bounded_and_nobody_is_held_up() {
        let output = Hands::default().run("head", &["-c", "1000000", "/dev/zero"], "").await.unwrap();
        assert_eq!(output.len() as u64, OUTPUT);
    }

    #[tokio::test]
    async fn a_refused_step_does_not_happen() {
        struct No;
        impl Steps for No {
            fn before(&self, step: &str) -> Result<()> {
                Err(Error::Command { command: step.to_owned(), reason: "refused".to_owned() })
            }
        }
        let hands = Hands::new(Some(Arc::new(No)));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("x");
        assert!(hands.run("touch", &[&file.to_string_lossy()], "").await.is_err());
        assert!(hands.replace(&file, b"", 0o600).is_err());
        assert!(hands.make_dir(&file, 0o700).is_err());
        assert!(hands.set(&file, "1").is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
