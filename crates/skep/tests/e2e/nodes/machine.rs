//! A local machine from outside, as its host sees it: its processes, its cable, its disk.

use std::{fs, path::PathBuf, process::Command};

use nix::{
    sys::{
        signal::{Signal, kill},
        statvfs::statvfs,
    },
    unistd::Pid,
};
use serde_json::Value;

use crate::installation::{Installation, alive, eventually};

/// One machine. Its first process is another one after each start.
pub struct Machine<'a> {
    shared: &'a Installation,
    /// Name of the `Machine` and of its node.
    pub name: String,
    pub uid: String,
}

impl<'a> Machine<'a> {
    /// The machines of a pool, by name.
    pub fn of_pool(shared: &'a Installation, pool: &str) -> Vec<Self> {
        let all = shared.json(&format!("get machines -l skep.dev/pool={pool} -o json"));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let one = |item: &Value| Self {
            shared,
            name: text(&item["metadata"]["name"]),
            uid: text(&item["metadata"]["uid"]),
        };
        let mut machines: Vec<Self> = all["items"].as_array().unwrap().iter().map(one).collect();
        machines.sort_by(|a, b| a.name.cmp(&b.name));
        machines
    }

    fn dir(&self) -> PathBuf {
        self.shared.data().join("local/machines").join(&self.uid)
    }

    /// How the names of everything of it on this host end.
    pub fn short(&self) -> String {
        self.uid.chars().take(8).collect()
    }

    /// Its first process, by this host's count.
    pub fn first(&self) -> Option<i32> {
        super::first_process(self.shared, &self.uid)
    }

    /// All its processes, those of pods too: they are in its cgroups.
    pub fn processes(&self) -> Vec<i32> {
        let ends = format!("-{}", self.short());
        let is_its = |pid: &i32| {
            let cgroups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
            cgroups.lines().any(|line| line.split('/').any(|part| part.ends_with(&ends)))
        };
        super::processes().into_iter().filter(is_its).collect()
    }

    /// The process of a program of it that the agent keeps running.
    pub fn program(&self, name: &str) -> Option<i32> {
        let first = self.first();
        self.processes().into_iter().find(|pid| Some(*pid) != first && super::program(*pid) == name)
    }

    /// The process that a container began with.
    pub fn container(&self, id: &str) -> Option<i32> {
        let of =
            |pid: &i32| fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default().contains(id);
        self.processes().into_iter().find(of)
    }

    /// Kills a program, and waits for the next copy.
    pub fn kill_program(&self, name: &str) {
        let old = self.program(name).unwrap_or_else(|| panic!("{} has no {name}", self.name));
        signal(old, Signal::SIGKILL);
        eventually(&format!("another {name}"), || self.program(name).filter(|pid| *pid != old));
    }

    /// All of it stands still, as a machine does that its host stopped.
    pub fn freeze(&self) {
        // Until nothing new has come: a process may start another one before it is stopped itself.
        let mut stopped = Vec::new();
        loop {
            let more: Vec<i32> = self.processes().into_iter().filter(|pid| !stopped.contains(pid)).collect();
            if more.is_empty() {
                return;
            }
            more.iter().for_each(|pid| signal(*pid, Signal::SIGSTOP));
            stopped.extend(more);
        }
    }

    /// Takes the cable's carrier away. The host's end stays in its bridge.
    pub fn cut(&self) {
        let short = self.short();
        let links = Command::new("ip").args(["-brief", "link"]).output().unwrap();
        let links = String::from_utf8(links.stdout).unwrap();
        let cable = links.split_whitespace().find_map(|word| {
            let name = word.split('@').next()?;
            name.ends_with(&format!("-{short}")).then(|| name.to_owned())
        });
        run(Command::new("ip").args(["link", "set", "dev", &cable.expect("it has a cable"), "down"]));
    }

    /// The power goes, and comes back after the machine was given this disk, with everything that is on its old one. The
    /// disk goes with the machine's next end.
    pub fn start_on(&self, disk: Disk) {
        let supervisor = self.shared.supervisor();
        let first = self.first().expect("it runs");
        let all = self.processes();
        // Nobody starts it meanwhile.
        signal(supervisor, Signal::SIGSTOP);
        let go_on = GoOn(supervisor);
        signal(first, Signal::SIGKILL);
        for pid in all {
            eventually("the end of everything in it", || (!alive(pid)).then_some(()));
        }
        let state = self.dir().join("own/var/lib");
        run(Command::new("cp").arg("-a").arg(state.join(".")).arg(disk.at()));
        run(Command::new("mount").arg("--bind").arg(disk.at()).arg(&state));
        let shown = Unmount(state);
        drop(disk);
        drop(go_on);
        eventually("another first process", || self.first().filter(|pid| *pid != first && alive(*pid)));
        // The machine has it; the host need not.
        drop(shown);
    }

    /// Bytes that are free on its disk.
    pub fn free(&self) -> u64 {
        let stat = statvfs(&self.inside("var/lib/kubelet")).unwrap();
        stat.blocks_available() * stat.fragment_size()
    }

    /// A path in it, as this host reaches it.
    pub fn inside(&self, path: &str) -> PathBuf {
        let first = self.first().expect("it runs").to_string();
        ["/proc", &first, "root", path].iter().collect()
    }
}

/// What is mounted on this host for tests like these.
pub fn mounts() -> Vec<String> {
    let all = fs::read_to_string("/proc/self/mountinfo").unwrap();
    all.lines().filter(|line| line.contains("skep-e2e")).map(str::to_owned).collect()
}

/// Lets a stopped process go on, however the test ends.
struct GoOn(i32);

impl Drop for GoOn {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.0), Signal::SIGCONT);
    }
}

/// A small disk of its own kind: kubelets look for a device, so memory will not do.
pub struct Disk {
    _mounted: Unmount,
    dir: tempfile::TempDir,
}

impl Disk {
    /// A disk of this size, of which only what is written takes room; or why there cannot be one here.
    pub fn new(mib: u64) -> Result<Self, String> {
        let dir = tempfile::Builder::new().prefix("skep-e2e-disk-").tempdir().unwrap();
        let (image, at) = (dir.path().join("image"), dir.path().join("at"));
        fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        fs::create_dir(&at).unwrap();
        for command in [
            Command::new("mkfs.ext4").args(["-q", "-F", "-m", "0"]).arg(&image),
            Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&at),
        ] {
            let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
            if !output.status.success() {
                return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
            }
        }
        Ok(Self { _mounted: Unmount(at), dir })
    }

    fn at(&self) -> PathBuf {
        self.dir.path().join("at")
    }
}

/// Takes a mount away, however the test ends.
struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// A process that has ended meanwhile is none of anybody's business.
fn signal(pid: i32, what: Signal) {
    let _ = kill(Pid::from_raw(pid), what);
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
