//! A machine that somebody brings: the printed line, run on it.
//!
//! The machine is namespaces of this host, with a network, a disk and cgroups of its own and a shell as its first process,
//! as a machine has that no infrastructure of ours has made.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use k8s_openapi::ByteString;
use serde_json::{Value, json};

use crate::{
    installation::{Installation, eventually, text},
    nodes,
};

/// Addresses of the host and of the machine on the cable between them (TEST-NET-3: nobody's).
const HOST: &str = "203.0.113.1";
const BOX: &str = "203.0.113.2";
const PORT: u16 = 26_443;
const NODE: &str = "box-1";

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

/// A machine of the test's own.
struct Machine {
    name: String,
    cgroup: String,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> Self {
        let name = format!("skep-box-{}", std::process::id());
        let dir = tempfile::Builder::new().prefix("skep-e2e-box-").tempdir().unwrap();
        let machine = Self { cgroup: name.clone(), name, dir };
        let (name, near) = (&machine.name, machine.near());
        ip(&format!("netns add {name}"));
        ip(&format!("link add {near} type veth peer name eth0 netns {name}"));
        ip(&format!("address add {HOST}/24 dev {near}"));
        ip(&format!("link set {near} up"));
        ip(&format!("-n {name} address add {BOX}/24 dev eth0"));
        ip(&format!("-n {name} link set eth0 up"));
        ip(&format!("-n {name} link set lo up"));
        let programs = machine.dir.path().join("bin");
        fs::create_dir(&programs).unwrap();
        // The line says sudo; who runs it here is root.
        let sudo = programs.join("sudo");
        fs::write(&sudo, "#!/bin/sh\nexec \"$@\"\n").unwrap();
        fs::set_permissions(&sudo, fs::Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_skep"), programs.join("skep")).unwrap();
        machine
    }

    fn near(&self) -> String {
        format!("sbox-{}", std::process::id())
    }

    /// Its disk.
    fn disk(&self, path: &str) -> PathBuf {
        self.dir.path().join("disk").join(path)
    }

    /// A shell on it that runs a line.
    fn start(&self, line: &str) -> Child {
        let console = fs::File::create(self.dir.path().join("console")).unwrap();
        let path = format!("{}:{}", self.dir.path().join("bin").display(), std::env::var("PATH").unwrap());
        Command::new("nsenter")
            .arg(format!("--net=/run/netns/{}", self.name))
            .args(["sh", "-c", MAKE, "box", &self.cgroup])
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
    fn run(&self, line: &str) -> (Option<i32>, String) {
        self.end(self.start(line))
    }

    /// Waits for its end.
    fn end(&self, mut shell: Child) -> (Option<i32>, String) {
        let status = eventually("what runs on the machine ends", || shell.try_wait().unwrap());
        (status.code(), self.console())
    }

    fn console(&self) -> String {
        fs::read_to_string(self.dir.path().join("console")).unwrap_or_default()
    }

    /// What of a node is on it, besides the machine itself.
    fn remains(&self) -> Vec<String> {
        let mut left: Vec<String> = ["var/lib/skep", "var/lib/kubelet", "var/log/pods"]
            .into_iter()
            .filter(|path| self.disk(path).exists())
            .map(str::to_owned)
            .collect();
        let links = Command::new("ip").args(["-n", &self.name, "-brief", "link"]).output().unwrap();
        let links = text(&links.stdout);
        let of_node = |name: &&str| !["lo", "eth0"].contains(name);
        let names = links.lines().filter_map(|line| line.split([' ', '@']).next());
        left.extend(names.filter(of_node).map(str::to_owned));
        let inside = format!("--net=/run/netns/{}", self.name);
        let tables = Command::new("nsenter").args([&inside, "nft", "list", "tables"]).output().unwrap();
        // iptables makes tables of its own when it is asked for something.
        let of_node = |line: &&str| line.contains("kube-proxy") || line.contains("skep");
        left.extend(text(&tables.stdout).lines().filter(of_node).map(str::to_owned));
        let addresses =
            Command::new("ip").args(["-n", &self.name, "-brief", "address", "show", "lo"]).output();
        if text(&addresses.unwrap().stdout).contains("198.18.") {
            left.push("the API server's address".to_owned());
        }
        left.extend(
            self.groups()
                .into_iter()
                .filter(|group| group.ends_with("kubepods"))
                .map(|g| g.display().to_string()),
        );
        left
    }

    /// Its cgroups, children first.
    fn groups(&self) -> Vec<PathBuf> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let roots = mounts
            .lines()
            .filter(|line| line.contains(" - cgroup"))
            .filter_map(|line| line.split(' ').nth(4));
        let mut rest: Vec<PathBuf> = roots.map(|root| Path::new(root).join(&self.cgroup)).collect();
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
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("the machine's console:\n{}", self.console());
        }
        for group in self.groups() {
            for pid in fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default().lines() {
                if let Ok(pid) = pid.parse() {
                    let _ = nix::sys::signal::kill(
                        nix::unistd::Pid::from_raw(pid),
                        nix::sys::signal::Signal::SIGKILL,
                    );
                }
            }
        }
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).status();
        let _ = Command::new("ip").args(["link", "delete", &self.near()]).stderr(Stdio::null()).status();
        // The kernel lets go of a group a moment after its last process.
        for _ in 0..100 {
            if self.groups().into_iter().all(|group| fs::remove_dir(group).is_ok()) {
                break;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split(' ')).status().unwrap();
    assert!(status.success(), "ip {line}");
}

/// The invitation in a line, changed.
fn other(line: &str, change: impl FnOnce(&mut Value)) -> String {
    let invitation = line.split('\'').nth(1).unwrap();
    let bytes: ByteString = serde_json::from_value(json!(invitation)).unwrap();
    let mut value = serde_json::from_slice(&bytes.0).unwrap();
    change(&mut value);
    let text = json!(ByteString(value.to_string().into_bytes()));
    line.replace(invitation, text.as_str().unwrap())
}

/// Joins with the printed line, serves with a certificate for its own address, is told when its `Machine` is deleted, and
/// leaves nothing. Lines that are not good for anything leave nothing either.
pub fn the_printed_line() {
    if let Some(missing) = nodes::missing() {
        println!("LEFT OUT: a machine that somebody brings: {missing}");
        return;
    }
    let machine = Machine::new();
    let installation = Installation::new("brought");
    installation.skep(&format!("up --gateway-listen {HOST}:{PORT}"));
    installation.skep("create cluster demo");
    let join = format!("node join {NODE} --cluster demo --class static-small");
    let line = installation.skep(&join);
    let line = line.trim();
    assert!(line.contains("sudo skep node agent --service --join -"), "{line}");

    let foreign = other(line, |invitation| invitation["join"]["token"] = "abcdef.0123456789abcdef".into());
    let (code, text) = machine.run(&foreign);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("does not know this token"), "{text}");
    assert_eq!(machine.remains(), [""; 0]);
    // What is refused later, when everything runs: as after a machine was deleted before it had a certificate.
    let kept = machine.disk("var/lib/skep/invitation");
    fs::create_dir_all(kept.parent().unwrap()).unwrap();
    fs::write(&kept, foreign.split('\'').nth(1).unwrap()).unwrap();
    let (code, text) = machine.run("sudo skep node agent");
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("does not know this token"), "{text}");
    assert!(text.contains("ready program=\"kubelet\""), "{text}");
    assert_eq!(machine.remains(), [""; 0], "{text}");

    let elsewhere = other(line, |invitation| {
        invitation["join"]["cluster"]["host"] = "other-abcd2345.skep.internal".into()
    });
    let (code, text) = machine.run(&elsewhere);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("another cluster"), "{text}");
    assert_eq!(machine.remains(), [""; 0]);

    let mut agent = machine.start(line);
    let ready = format!("get node {NODE} -o jsonpath={{.status.conditions[-1].status}}");
    eventually("the node is ready", || {
        assert!(agent.try_wait().unwrap().is_none(), "its agent has ended");
        (installation.try_tenant("demo", &ready)? == "True").then_some(())
    });
    let served = eventually("its kubelet serves with a certificate of the cluster's", || {
        installation.try_tenant("demo", &format!("get --raw /api/v1/nodes/{NODE}/proxy/healthz"))
    });
    assert_eq!(served, "ok");
    let found = installation.json(&format!("get machines {NODE} -o json"));
    assert_eq!(
        (&found["status"]["address"], &found["status"]["phase"]),
        (&BOX.into(), &"Ready".into()),
        "{found:#}"
    );
    let invitation = machine.disk("var/lib/skep/invitation");
    assert_eq!(fs::metadata(&invitation).unwrap().permissions().mode() & 0o777, 0o600);

    // It works once.
    let used = installation.fails(1, &join);
    assert!(used.contains("joined already"), "{used}");

    installation.kubectl(&format!("delete machine {NODE}"));
    let (code, text) = machine.end(agent);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8131") && text.contains("was deleted from cluster"), "{text}");
    assert_eq!(text.matches("was deleted from cluster").count(), 1, "said once: {text}");
    assert_eq!(text.matches("error[SKEP-8131]: node ").count(), 1, "{text}");
    assert_eq!(machine.remains(), [""; 0], "{text}");
    assert_eq!(installation.tenant("demo", "get nodes -o name"), "");

    let (code, text) = machine.run(line);
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("SKEP-8117") && text.contains("does not know this token"), "{text}");
    let (code, text) = machine.run("sudo skep node agent");
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("SKEP-8115"), "{text}");
    assert_eq!(machine.remains(), [""; 0]);
    installation.down();
}
