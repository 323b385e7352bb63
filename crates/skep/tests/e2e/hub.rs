//! A hub, driven through the binary only: that of an installation, or of a cell that is a tenant's cluster.

use std::{
    ffi::OsStr,
    fs,
    path::PathBuf,
    process::{Command, Output, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread,
    time::Duration,
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::installation::text;

/// For one try of what is tried again.
const TRY: Duration = Duration::from_secs(30);

pub struct Hub {
    /// For files of the person who uses it.
    dir: PathBuf,
    /// Of the installation.
    data: PathBuf,
    /// Of the cell; that of the installation is known by itself.
    kubeconfig: Option<PathBuf>,
}

impl Hub {
    pub fn of_installation(dir: PathBuf, data: PathBuf) -> Self {
        Self { dir, data, kubeconfig: None }
    }

    /// The cell that a tenant of this hub has become.
    pub fn cell(&self, cluster: &str) -> Self {
        let dir = self.file(cluster);
        fs::create_dir_all(&dir).unwrap();
        let kubeconfig = dir.join("cell.kubeconfig");
        fs::write(&kubeconfig, self.skep(&format!("kubeconfig {cluster}"))).unwrap();
        Self { dir, data: self.data.clone(), kubeconfig: Some(kubeconfig) }
    }

    pub fn data(&self) -> PathBuf {
        self.data.clone()
    }

    /// A file beside the data directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The binary, on this hub.
    pub fn command<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_skep"));
        command
            .args(args)
            .env("SKEP_DATA_DIR", &self.data)
            .env_remove("SKEP_KUBECONFIG")
            .stdin(Stdio::null());
        command.env("KUBECONFIG", self.file("kubeconfig"));
        if let Some(kubeconfig) = &self.kubeconfig {
            command.env("SKEP_KUBECONFIG", kubeconfig);
        }
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

    /// What kubectl prints for a tenant; `None` when it fails or hangs: what it talked to may have died meanwhile.
    pub fn try_tenant(&self, cluster: &str, line: &str) -> Option<String> {
        let file = self.file(&format!("{cluster}.kubeconfig"));
        fs::write(&file, self.skep(&format!("kubeconfig {cluster}"))).unwrap();
        let kubeconfig = format!("--kubeconfig={}", file.display());
        let command = self.command(["kubectl", &kubeconfig].into_iter().chain(line.split_whitespace()));
        let output = output_within(command, TRY);
        output.status.success().then(|| text(&output.stdout))
    }

    /// Name of this installation in its processes' environment.
    pub fn instance(&self) -> Option<String> {
        let state: Value = serde_json::from_slice(&fs::read(self.data.join("state.json")).ok()?).ok()?;
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

    /// Processes of a container in any pod.
    pub fn container(&self, name: &str) -> Vec<i32> {
        if self.kubeconfig.is_some() {
            return self.in_containers(name);
        }
        let of = |marker: &String| marker.split('/').nth(2).is_some_and(|container| container == name);
        self.marked().into_iter().filter(|(_, marker)| of(marker)).map(|(pid, _)| pid).collect()
    }

    /// The same where containers are real ones: their cgroups carry their names.
    fn in_containers(&self, name: &str) -> Vec<i32> {
        let pods = self.json("kubectl get pods -A -o json");
        let statuses = pods["items"].as_array().unwrap().iter();
        let statuses =
            statuses.flat_map(|pod| pod["status"]["containerStatuses"].as_array().into_iter().flatten());
        let ids: Vec<&str> = statuses
            .filter(|status| status["name"] == name && status["state"]["running"].is_object())
            .filter_map(|status| status["containerID"].as_str()?.strip_prefix("containerd://"))
            .collect();
        let processes = fs::read_dir("/proc").unwrap().flatten();
        processes
            .filter_map(|entry| entry.file_name().to_string_lossy().parse().ok())
            .filter(|pid: &i32| {
                let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
                ids.iter().any(|id| groups.contains(id))
            })
            .collect()
    }
}

/// Runs a program, which is killed when it takes longer.
fn output_within(mut command: Command, limit: Duration) -> Output {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (end, ended) = channel::<()>();
    let watch = thread::spawn(move || {
        if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop(end);
    watch.join().unwrap();
    output
}
