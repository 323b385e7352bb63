//! An installation in a directory of its own, driven through the binary only.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use serde_json::Value;

/// For anything to happen that no command waits for.
const PATIENCE: Duration = Duration::from_secs(90);

pub struct Installation {
    dir: tempfile::TempDir,
    _guard: Child,
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
        Self { dir, _guard: guard }
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// A file beside the data directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The binary, on this installation.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command
            .args(args)
            .env("SKEP_DATA_DIR", self.data())
            .env_remove("SKEP_KUBECONFIG")
            .stdin(Stdio::null());
        command.env("KUBECONFIG", self.file("kubeconfig"));
        command
    }

    /// Runs the binary; its output whatever its exit code.
    pub fn run<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Output {
        self.command(args).output().unwrap()
    }

    /// Runs the binary; its stdout. Panics with its stderr when it fails.
    #[track_caller]
    pub fn skep(&self, line: &str) -> String {
        let output = self.run(line.split_whitespace());
        assert!(output.status.success(), "skep {line}: {}\n{}", output.status, text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs the binary, which has to fail with this exit code; its stderr.
    #[track_caller]
    pub fn fails(&self, code: i32, line: &str) -> String {
        let output = self.run(line.split_whitespace());
        assert_eq!(output.status.code(), Some(code), "skep {line}: {}", text(&output.stderr));
        text(&output.stderr)
    }

    /// The same as JSON.
    #[track_caller]
    pub fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.skep(line)).unwrap()
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

    /// kubectl on the hub.
    #[track_caller]
    pub fn kubectl(&self, line: &str) -> String {
        self.skep(&format!("kubectl {line}"))
    }

    /// kubectl on a tenant, through the gateway.
    #[track_caller]
    pub fn tenant(&self, cluster: &str, line: &str) -> String {
        let file = self.file(&format!("{cluster}.kubeconfig"));
        fs::write(&file, self.skep(&format!("kubeconfig {cluster}"))).unwrap();
        self.skep(&format!("kubectl --kubeconfig={} {line}", file.display()))
    }

    /// What kubectl prints for a tenant; `None` when it fails.
    pub fn try_tenant(&self, cluster: &str, line: &str) -> Option<String> {
        let file = self.file(&format!("{cluster}.kubeconfig"));
        fs::write(&file, self.skep(&format!("kubeconfig {cluster}"))).unwrap();
        let kubeconfig = format!("--kubeconfig={}", file.display());
        let output = self.run(["kubectl", &kubeconfig].into_iter().chain(line.split_whitespace()));
        output.status.success().then(|| text(&output.stdout))
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

    /// Name of this installation in its processes' environment.
    pub fn instance(&self) -> Option<String> {
        let state: Value = serde_json::from_slice(&fs::read(self.data().join("state.json")).ok()?).ok()?;
        state["instance"].as_str().map(str::to_owned)
    }

    /// Every process that was started for this installation, by its path below it.
    pub fn marked(&self) -> Vec<(i32, String)> {
        let Some(instance) = self.instance() else { return Vec::new() };
        let prefix = format!("SKEP_CONTAINER={instance}/");
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Ok(pid) = entry.file_name().to_string_lossy().parse::<i32>() else { continue };
            let environment = fs::read(entry.path().join("environ")).unwrap_or_default();
            let mut variables = environment.split(|byte| *byte == 0);
            let marker = variables.find_map(|variable| variable.strip_prefix(prefix.as_bytes()));
            found.extend(marker.map(|marker| (pid, text(marker))));
        }
        found
    }

    /// The processes of this installation, and its supervisor.
    pub fn processes(&self) -> Vec<i32> {
        self.marked().into_iter().map(|(pid, _)| pid).collect()
    }

    /// Processes of a container in any pod.
    pub fn container(&self, name: &str) -> Vec<i32> {
        let of = |marker: &String| marker.split('/').nth(2).is_some_and(|container| container == name);
        self.marked().into_iter().filter(|(_, marker)| of(marker)).map(|(pid, _)| pid).collect()
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
