//! Machines made of namespaces, as the infrastructure `local` makes them, only smaller.

use std::{
    fs::{self, File},
    net::Ipv4Addr,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use skep_agent::config::{Host, Join};
use tempfile::TempDir;

use crate::again::AGENT;

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// A bridge on this host that machines are connected to.
pub struct Segment {
    name: String,
    third: u8,
}

impl Segment {
    pub fn new() -> Self {
        let begin = std::process::id().wrapping_add(NUMBER.fetch_add(1, Ordering::Relaxed) * 7919);
        // Of the range for tests between networks (RFC 2544); 198.18.0 has the API server's address. Whoever makes the
        // bridge has its addresses: another run has others, also when it was killed and left its bridge.
        let mut numbers = (0..250).map(|n| u8::try_from(begin.wrapping_add(n) % 250 + 1).unwrap());
        let made = |third: &u8| {
            let line = format!("link add skt{third} type bridge");
            Command::new("ip").args(line.split(' ')).stderr(Stdio::null()).status().unwrap().success()
        };
        let third = numbers.find(made).expect("no range of addresses is free, or no bridge can be made");
        let segment = Self { name: format!("skt{third}"), third };
        run("ip", &format!("address add {}/24 dev {}", segment.host(), segment.name));
        run("ip", &format!("link set {} up", segment.name));
        segment
    }

    /// This host's address on it.
    pub fn host(&self) -> Ipv4Addr {
        self.address(1)
    }

    pub fn address(&self, last: u8) -> Ipv4Addr {
        Ipv4Addr::new(198, 18, self.third, last)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "del", &self.name]).status();
    }
}

/// A machine. Everything of it goes when it is dropped.
pub struct Machine {
    /// What is the machine's own: `var/lib`, `var/log`.
    directory: TempDir,
    namespace: String,
    /// This host's end of its cable.
    near: String,
    cgroup: String,
    init: Option<Child>,
    pub address: Ipv4Addr,
}

/// Runs as the first process of the machine until it becomes the agent.
const ENTER: &str = r#"
set -eu
mount -n -t tmpfs tmpfs /run
mount -n --bind "$1/var/lib" /var/lib
mount -n --bind "$1/var/log" /var/log
mount -n --make-rshared /
shift
"#;

impl Machine {
    /// A machine that is not started.
    pub fn new(segment: &Segment, last: u8) -> Self {
        let directory = tempfile::Builder::new().prefix("skep-agent-").tempdir().unwrap();
        for part in ["var/lib/skep", "var/log"] {
            fs::create_dir_all(directory.path().join(part)).unwrap();
        }
        let namespace = format!("{}-{last}", segment.name);
        let address = segment.address(last);
        let (near, cgroup) = (format!("{}v{last}", segment.name), format!("skep-test-{namespace}"));
        let machine = Self { directory, cgroup, namespace, near, init: None, address };
        let (name, near) = (&machine.namespace, &machine.near);
        run("ip", &format!("netns add {name}"));
        run("ip", &format!("link add {near} type veth peer name eth0 netns {name}"));
        run("ip", &format!("link set {near} up master {}", segment.name));
        run("ip", &format!("-n {name} address add {address}/24 dev eth0"));
        run("ip", &format!("-n {name} link set eth0 up"));
        run("ip", &format!("-n {name} route add default via {}", segment.host()));
        machine
    }

    /// What its agent is told of it, with programs in these directories.
    pub fn host(&self, kubernetes: &Path, containerd: &Path, cni: &Path) -> Host {
        Host {
            address: self.address,
            interface: "eth0".into(),
            provider_id: format!("skep-test://{}", self.namespace),
            state: "/var/lib/skep".into(),
            cgroup_root: format!("/{}", self.cgroup),
            shared: true,
            brought: false,
            kubernetes: kubernetes.into(),
            containerd: containerd.into(),
            cni: cni.into(),
        }
    }

    /// Starts it, with the agent as its first process.
    pub fn start(&mut self, join: &Join, host: &Host) {
        self.start_with(r#"exec "$@""#, join, host);
    }

    /// Starts it with the agent as a service, which is started again whenever it ends.
    pub fn start_service(&mut self, join: &Join, host: &Host) {
        self.start_with(r#"while :; do "$@" & wait $! || :; done"#, join, host);
    }

    fn start_with(&mut self, last: &str, join: &Join, host: &Host) {
        let own = self.directory.path();
        fs::write(own.join("join.json"), serde_json::to_vec(join).unwrap()).unwrap();
        fs::write(own.join("host.json"), serde_json::to_vec(host).unwrap()).unwrap();
        let console = File::options().append(true).create(true).open(own.join("console")).unwrap();
        let mut command = Command::new("nsenter");
        command
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args([
                "unshare",
                "--mount",
                "--propagation",
                "slave",
                "--pid",
                "--fork",
                "--kill-child",
                "--uts",
                "--ipc",
            ])
            .args(["--mount-proc", "sh", "-c", &format!("{ENTER}{last}"), "sh"])
            .arg(own)
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "again::agent_process", "--nocapture", "--test-threads=1"])
            .env(AGENT, own)
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .process_group(0);
        self.init = Some(command.spawn().unwrap());
    }

    /// A file of the machine below its `/var`.
    pub fn file(&self, path: &str) -> PathBuf {
        self.directory.path().join(path.trim_start_matches('/'))
    }

    /// Text of such a file; empty when there is none.
    pub fn text(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_default()
    }

    /// What the agent has written.
    pub fn console(&self) -> String {
        fs::read_to_string(self.directory.path().join("console")).unwrap_or_default()
    }

    /// Number of its first process, on this host.
    pub fn first_process(&self) -> Option<i32> {
        let outer = self.init.as_ref()?.id();
        let children = fs::read_to_string(format!("/proc/{outer}/task/{outer}/children")).ok()?;
        children.split_whitespace().next()?.parse().ok()
    }

    /// Processes of the machine whose command line has this in it, as numbers of this host.
    pub fn processes(&self, part: &str) -> Vec<i32> {
        let Some(first) = self.first_process() else { return Vec::new() };
        let space = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
        let ours = space(first);
        let pids = fs::read_dir("/proc")
            .unwrap()
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        let command = |pid: i32| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        pids.filter(|pid| space(*pid) == ours)
            .filter(|pid| String::from_utf8_lossy(&command(*pid)).contains(part))
            .collect()
    }

    /// Processes that have ended and that nobody has waited for.
    pub fn zombies(&self) -> usize {
        let first = self.first_process();
        let stat = |pid: &str| fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let is = |text: String| {
            let rest: Vec<&str> =
                text.rsplit_once(") ").map_or("", |(_, rest)| rest).split(' ').take(2).collect();
            matches!(rest[..], ["Z", parent] if parent.parse().ok() == first)
        };
        let entries = fs::read_dir("/proc").unwrap().flatten();
        entries.filter(|entry| entry.file_name().to_str().is_some_and(|pid| is(stat(pid)))).count()
    }

    /// Runs a shell script in its network, and returns what it says.
    pub fn inside(&self, script: &str) -> String {
        let output = Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.namespace))
            .args(["bash", "-c", script])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    }

    /// Stops it in order and says how its agent ended.
    pub fn stop(&mut self) -> Option<i32> {
        kill(Pid::from_raw(self.first_process().expect("it runs")), Signal::SIGTERM).unwrap();
        self.init.take().expect("it runs").wait().unwrap().code()
    }

    /// Kills it as a power cut would.
    pub fn cut(&mut self) {
        if let Some(first) = self.first_process() {
            let _ = kill(Pid::from_raw(first), Signal::SIGKILL);
        }
        if let Some(mut outer) = self.init.take() {
            let _ = outer.wait();
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.cut();
        if std::thread::panicking() {
            eprintln!("--- console of {}\n{}", self.namespace, self.console());
            for program in ["containerd", "kubelet", "kube-proxy"] {
                let log = self.text(&format!("var/lib/skep/logs/{program}.log"));
                let lines: Vec<&str> = log.lines().collect();
                let last = lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n");
                eprintln!("--- {program} of {}\n{last}", self.namespace);
            }
        }
        // The namespace lives until the last connection in it is given up, and would keep the cable.
        let _ = Command::new("ip").args(["link", "del", &self.near]).status();
        let _ = Command::new("ip").args(["netns", "del", &self.namespace]).status();
        for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
            remove_groups(&hierarchy.path().join(&self.cgroup));
        }
        remove_groups(&Path::new("/sys/fs/cgroup").join(&self.cgroup));
    }
}

/// Removes a cgroup and those below it. Its processes are being killed and may take a moment.
fn remove_groups(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_groups(&entry.path());
        }
    }
    let began = Instant::now();
    while path.exists() && fs::remove_dir(path).is_err() && began.elapsed() < Duration::from_secs(10) {
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a program of the host that must succeed.
pub fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "{program} {arguments}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
