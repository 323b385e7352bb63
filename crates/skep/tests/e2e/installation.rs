//! An installation in a directory of its own, driven through the binary only.

use std::{
    fs,
    ops::Deref,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::hub::Hub;

/// For anything to happen that no command waits for.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Installation {
    hub: Hub,
    _dir: tempfile::TempDir,
    _guard: Child,
}

impl Deref for Installation {
    type Target = Hub;

    fn deref(&self) -> &Hub {
        &self.hub
    }
}

impl Installation {
    pub fn new(name: &str) -> Self {
        let dir = tempfile::Builder::new().prefix(&format!("skep-e2e-{name}-")).tempdir().unwrap();
        // Takes everything down when this process is gone, however it went: its end closes the pipe.
        let script = r#"read -r _; "$1" down -q --data-dir "$2" >/dev/null 2>&1; umount -l "$2" 2>/dev/null; rm -rf "$3""#;
        let data = dir.path().join("data");
        let guard = Command::new("/bin/sh")
            .args(["-c", script, "skep-e2e-guard", env!("CARGO_BIN_EXE_skep")])
            .args([data.as_path(), dir.path()])
            .stdin(Stdio::piped())
            .process_group_of_its_own()
            .spawn()
            .unwrap();
        Self { hub: Hub::of_installation(dir.path().to_owned(), data), _dir: dir, _guard: guard }
    }

    #[track_caller]
    pub fn up(&self) {
        let out = self.skep("up");
        assert!(out.contains("skep create cluster"), "{out}");
    }

    #[track_caller]
    pub fn down(&self) {
        self.skep("down");
        assert_eq!(self.processes(), Vec::<i32>::new(), "processes are left");
    }

    /// Process id of the supervisor.
    pub fn supervisor(&self) -> i32 {
        i32::try_from(self.json("status -o json")["pid"].as_i64().unwrap()).unwrap()
    }

    /// Process id of a component of the hub; `None` while it is not running.
    pub fn component(&self, name: &str) -> Option<i32> {
        let status = self.run(["status", "-o", "json"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        let all = status["components"].as_array()?;
        let found =
            all.iter().find(|component| component["name"] == name && component["health"] == "running")?;
        found["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok())
    }

    /// The processes of this installation, and its supervisor.
    pub fn processes(&self) -> Vec<i32> {
        self.marked().into_iter().map(|(pid, _)| pid).collect()
    }

    /// What its programs said last, for a failed run.
    pub fn show_logs(&self) {
        for entry in fs::read_dir(self.data().join("logs")).into_iter().flatten().flatten() {
            println!("---- {}", entry.path().display());
            let log = fs::read_to_string(entry.path()).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| println!("{line}"));
        }
    }
}

impl Drop for Installation {
    fn drop(&mut self) {
        let _ = self.run(["down", "-q"]);
        let _ = self._guard.kill();
        let _ = self._guard.wait();
    }
}

trait OwnGroup {
    fn process_group_of_its_own(&mut self) -> &mut Self;
}

impl OwnGroup for Command {
    /// An interrupt in the terminal is for the tests, not for their guard.
    fn process_group_of_its_own(&mut self) -> &mut Self {
        std::os::unix::process::CommandExt::process_group(self, 0)
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).unwrap();
}

pub fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Looks until it gives something.
#[track_caller]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < PATIENCE, "{what}: not after {} s", PATIENCE.as_secs());
        sleep(Duration::from_millis(100));
    }
}
