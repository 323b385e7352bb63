//! A machine that no infrastructure of ours has made: namespaces of this host, with a network, a disk and cgroups of its own
//! and a shell as its first process.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use crate::installation::{eventually, text};

/// Addresses of the host and of the machine on the cable between them (TEST-NET-3, and no more of it than is needed: it is
/// nobody's, but some have servers there).
pub const HOST: &str = "203.0.113.1";
pub const BOX: &str = "203.0.113.2";

/// What makes the machine: enters its cgroups, then its namespaces, shows it its own directories and runs what it is given.
/// Arguments: cgroup, directory, program and arguments.
const MAKE: &str = r#"
set -eu
cgroup=$1
roots=$(awk '/ - cgroup2? /{print $5}' /proc/self/mountinfo | sort -u)
for root in $roots; do
    mkdir -p "$root/$cgroup/init"
    for group in "$root/$cgroup" "$root/$cgroup/init"; do
        for file in cpuset.cpus cpuset.mems; do
            if [ -e "$group/$file" ] && [ ! -e "$group/cgroup.controllers" ]; then cat "$group/../$file" >"$group/$file"; fi
        done
    done
    echo 0 >"$root/$cgroup/cgroup.procs"
done
export roots
exec unshare --cgroup sh -euc 'for root in $roots; do echo 0 >"$root/$1/init/cgroup.procs"; done
    exec unshare --mount --propagation private --pid --fork --kill-child --uts --ipc --mount-proc sh -euc "$inside" box "$@"' box "$@"
"#;
const INSIDE: &str = r#"
cgroup=$1 dir=$2
shift 2
i=0
for root in $roots; do
    i=$((i + 1))
    mkdir -p "$dir/cgroup/$i"
    mount -n --bind "$root/$cgroup" "$dir/cgroup/$i"
done
i=0
for root in $roots; do
    i=$((i + 1))
    umount -n -l "$root"
    mount -n --move "$dir/cgroup/$i" "$root"
done
for own in var/lib var/log run; do
    mkdir -p "$dir/disk/$own"
    mount -n --bind "$dir/disk/$own" "/$own"
done
echo up
# Not "exec": it is the machine that ends last.
"$@" || exit $?
"#;

/// Its network namespace and its cgroup, and this host's end of its cable.
const NAME: &str = "skep-box";
const NEAR: &str = "skep-box";

/// A machine of the test's own, the only one on this host.
pub struct Machine {
    dir: tempfile::TempDir,
    _claim: fs::File,
}

impl Machine {
    /// Beside this host, with a cable to an address of its own.
    pub fn new() -> Self {
        let machine = Self::at(&format!("{BOX}/30"));
        ip(&format!("address add {HOST}/30 dev {NEAR}"));
        machine
    }

    /// Beside the machines of an installation, on their bridge; all of them are in one /24.
    pub fn beside(address: &str) -> Self {
        let (net, _) = address.rsplit_once('.').unwrap();
        let machine = Self::at(&format!("{net}.250/24"));
        let links = Command::new("ip").args(["-brief", "-4", "address"]).output().unwrap();
        let links = text(&links.stdout);
        let bridge = links.lines().find(|line| line.contains(&format!(" {net}.1/"))).unwrap();
        ip(&format!("link set {NEAR} master {}", bridge.split(' ').next().unwrap()));
        machine
    }

    fn at(address: &str) -> Self {
        // Another run on this host waits for its turn: addresses are the same for all.
        let claim = fs::File::create(std::env::temp_dir().join("skep-test-box.lock")).unwrap();
        claim.lock().unwrap();
        // A run that was killed has left its machine, and a route to it.
        remove();
        let dir = tempfile::Builder::new().prefix("skep-e2e-box-").tempdir().unwrap();
        let machine = Self { dir, _claim: claim };
        ip(&format!("netns add {NAME}"));
        ip(&format!("link add {NEAR} type veth peer name eth0 netns {NAME}"));
        ip(&format!("link set {NEAR} up"));
        ip(&format!("-n {NAME} address add {address} dev eth0"));
        ip(&format!("-n {NAME} link set eth0 up"));
        ip(&format!("-n {NAME} link set lo up"));
        let programs = machine.dir.path().join("bin");
        fs::create_dir(&programs).unwrap();
        // The line says sudo; who runs it here is root.
        let sudo = programs.join("sudo");
        fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_skep"), programs.join("skep")).unwrap();
        machine
    }

    /// Its disk.
    pub fn disk(&self, path: &str) -> PathBuf {
        self.dir.path().join("disk").join(path)
    }

    /// A shell on it that runs a line.
    pub fn start(&self, line: &str) -> Child {
        let console = fs::File::create(self.dir.path().join("console")).unwrap();
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{NAME}"))
            .args(["sh", "-c", MAKE, "box", NAME])
            .arg(self.dir.path())
            .args(["sh", "-c", line])
            .env("PATH", path)
            .env("inside", INSIDE)
            .env_remove("SKEP_DATA_DIR")
            .stdin(Stdio::null())
            .stdout(console.try_clone().unwrap())
            .stderr(console)
            .spawn()
            .unwrap()
    }

    /// Runs a line to its end; the code it ended with, and what it said.
    pub fn run(&self, line: &str) -> (Option<i32>, String) {
        self.end(self.start(line))
    }

    /// Waits for its end.
    pub fn end(&self, mut shell: Child) -> (Option<i32>, String) {
        let status = eventually("what runs on the machine ends", || shell.try_wait().unwrap());
        (status.code(), self.console())
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.path().join("console")).unwrap_or_default()
    }

    /// What of a node is on it, besides the machine itself.
    pub fn remains(&self) -> Vec<String> {
        let mut left: Vec<String> = ["var/lib/skep", "var/lib/kubelet", "var/log/pods"]
            .into_iter()
            .filter(|path| self.disk(path).exists())
            .map(str::to_owned)
            .collect();
        let links = Command::new("ip").args(["-n", NAME, "-brief", "link"]).output().unwrap();
        let links = text(&links.stdout);
        let of_node = |name: &&str| !["lo", "eth0"].contains(name);
        let names = links.lines().filter_map(|line| line.split([' ', '@']).next());
        left.extend(names.filter(of_node).map(str::to_owned));
        let inside = format!("--net=/run/netns/{NAME}");
        let tables = Command::new("nsenter").args([&inside, "nft", "list", "tables"]).output().unwrap();
        // iptables makes tables of its own when it is asked for something.
        let of_node = |line: &&str| line.contains("kube-proxy") || line.contains("skep");
        left.extend(text(&tables.stdout).lines().filter(of_node).map(str::to_owned));
        let addresses = Command::new("ip").args(["-n", NAME, "-brief", "address", "show", "lo"]).output();
        if text(&addresses.unwrap().stdout).contains("198.18.") {
            left.push("the API server's address".to_owned());
        }
        let pods = groups().into_iter().filter(|group| group.ends_with("kubepods"));
        left.extend(pods.map(|group| group.display().to_string()));
        left
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the machine's console:\n{}", self.console());
        }
        remove();
    }
}

/// Takes away what of a machine is on this host, whoever made it.
fn remove() {
    for group in groups() {
        for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
            if let Ok(pid) = pid.parse() {
                let _ = nix::sys::signal::kill(
                    nix::unistd::Pid::from_raw(pid),
                    nix::sys::signal::Signal::SIGKILL,
                );
            }
        }
    }
    // The namespace lives until the last connection in it is given up, and would keep the cable.
    let _ = Command::new("ip").args(["link", "delete", NEAR]).stderr(Stdio::null()).status();
    let _ = Command::new("ip").args(["netns", "delete", NAME]).stderr(Stdio::null()).status();
    // The kernel lets go of a group a moment after its last process.
    for _ in 0..100 {
        if groups().into_iter().all(|group| fs::remove_dir(group).is_ok()) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

/// Its cgroups, children first.
fn groups() -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let roots =
        mounts.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let mut rest: Vec<PathBuf> = roots.map(|root| Path::new(root).join(NAME)).collect();
    let mut found = Vec::new();
    while let Some(group) = rest.pop() {
        let Ok(entries) = fs::read_dir(&group) else { continue };
        rest.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()));
        found.push(group);
    }
    found.sort();
    found.reverse();
    found
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}
