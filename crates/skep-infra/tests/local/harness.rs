//! An installation of its own for each test, and eyes for everything that may be left of it.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use rustix::{fd::AsFd as _, thread::LinkNameSpaceType};
use skep_agent::config::{ClusterFacts, Join, KubeProxyMode, PodNetwork};
use skep_api::{
    KubeVersion, MachineClassSpec, NodeTemplate, Provider as Kind, machine::KubeletSettings,
    machine_class::MachineCapacity,
};
use skep_infra::{
    Deleted, Error, Order, Provider, Result, State,
    local::{Directories, Local, Network, Programs, Settings, Steps},
};

/// Nothing here takes that long, unless it hangs.
pub const LONG: Duration = Duration::from_secs(60);

/// What stands for the agent. It leaves everything behind that a node may leave: orphans in sessions of their own, mounts,
/// nested cgroups, files.
const AGENT: &str = r#"#!/bin/sh
state=/var/lib/skep
echo "arguments: $*"
boots=$(cat $state/boots 2>/dev/null || echo 0)
echo $((boots + 1)) >$state/boots
hostname=$(cat /proc/sys/kernel/hostname)
echo "boot $((boots + 1)) of $hostname as process $$"
mkdir -p $state/mount
mount -n -t tmpfs of-the-machine $state/mount
touch $state/mount/file /tmp/of-the-machine /run/of-the-machine /var/log/of-the-machine
for root in /sys/fs/cgroup /sys/fs/cgroup/*; do
    if [ -d $root/system ]; then mkdir -p $root/kubepods/burstable/pod1; fi
done
(setsid sh -c 'sleep 1000 & exec sleep 1000' &)
echo ready >$state/ready
exec sleep 100000
"#;

/// Whether real machines can be had; says what is missing if not.
pub async fn possible() -> bool {
    static MISSING: OnceLock<Vec<String>> = OnceLock::new();
    if MISSING.get().is_none() {
        let nothing = Arc::new(Stubs(PathBuf::new()));
        let settings = Settings::new("/".into(), "/".into(), Network::numbered(1), nothing);
        let missing = Local::check(&settings).await;
        // What only a real node runs is not needed here.
        let of_node = ["runc", "iptables", "nft", "conntrack"];
        let needed = missing.iter().filter(
            |error| !matches!(error, Error::NoProgram { program, .. } if of_node.contains(&program.as_str())),
        );
        let _ = MISSING.set(needed.map(ToString::to_string).collect());
    }
    let missing = MISSING.get().unwrap();
    for what in missing {
        say(&format!("SKIPPED, no real machines were tested: {what}"));
    }
    missing.is_empty()
}

/// Past the test runner, which keeps the output of tests that pass.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

pub struct Stubs(pub PathBuf);

#[async_trait]
impl Programs for Stubs {
    async fn directories(&self, _: &KubeVersion) -> Result<Directories, String> {
        let dir = |name| self.0.join("programs").join(name);
        Ok(Directories { kubernetes: dir("kubernetes"), containerd: dir("containerd"), cni: dir("cni") })
    }
}

/// A data directory with an agent, and a network that no other test has. Whatever a test leaves is removed at its end.
pub struct Ground {
    root: PathBuf,
    pub network: Network,
    /// The directory and the claim to the network; a process that only helps a test has neither.
    own: Option<(tempfile::TempDir, File)>,
}

impl Ground {
    pub fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        for programs in ["kubernetes", "containerd", "cni"] {
            let programs = dir.path().join("programs").join(programs);
            fs::create_dir_all(&programs).unwrap();
            fs::write(programs.join("program"), "").unwrap();
        }
        let begin = std::process::id().wrapping_mul(31);
        for _ in 0..254 {
            let number =
                u8::try_from(begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 254 + 1).unwrap();
            let network = Network::numbered(number);
            let claim =
                File::create(std::env::temp_dir().join(format!("skep-test-network-{number}.lock"))).unwrap();
            if claim.try_lock().is_ok() && !Path::new("/sys/class/net").join(&network.bridge).exists() {
                let ground = Self { root: dir.path().to_owned(), network, own: Some((dir, claim)) };
                ground.agent(AGENT);
                return ground;
            }
        }
        panic!("no network is free");
    }

    /// The ground of a test in another process.
    pub fn of(root: &Path, network: u8) -> Self {
        Self { root: root.to_owned(), network: Network::numbered(network), own: None }
    }

    pub fn dir(&self) -> &Path {
        &self.root
    }

    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    pub fn machine_dir(&self, uid: &str) -> PathBuf {
        self.data().join("machines").join(uid)
    }

    /// What machines run from their next start on.
    pub fn agent(&self, script: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.root.join("skep");
        // Another file: the old one may be running.
        let _ = fs::remove_file(&path);
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    pub fn settings(&self) -> Settings {
        let programs = Arc::new(Stubs(self.root.clone()));
        Settings::new(self.data(), self.root.join("skep"), self.network.clone(), programs)
    }

    pub fn open(&self) -> Local {
        Local::open(self.settings()).unwrap()
    }

    /// One that fails before the k-th effect.
    pub fn open_failing(&self, k: u32) -> (Local, Arc<FailAt>) {
        let steps =
            Arc::new(FailAt { k, seen: AtomicU32::new(0), last: OnceLock::new(), steps: Mutex::default() });
        let local =
            Local::open(Settings { steps: Some(Arc::clone(&steps) as _), ..self.settings() }).unwrap();
        (local, steps)
    }

    pub fn installation(&self) -> String {
        fs::read_to_string(self.data().join("installation")).unwrap()
    }

    /// Everything on the host that carries a name of this installation, or runs or is mounted in its directory.
    pub fn remains(&self) -> Vec<String> {
        let installation = self.installation();
        let mut found = Vec::new();
        let mut note = |what: &str, name: &str| found.push(format!("{what} {name}"));
        for link in names_in("/sys/class/net") {
            if link == self.network.bridge || link.starts_with(&format!("s{installation}-")) {
                note("interface", &link);
            }
        }
        for netns in names_in("/run/netns") {
            if netns.starts_with(&format!("skep-{installation}-")) {
                note("namespace", &netns);
            }
        }
        for group in groups(&installation) {
            note("cgroup", &group.to_string_lossy());
        }
        let data = self.data().to_string_lossy().into_owned();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        for mount in mounts.lines().filter(|line| line.contains(&data) || line.contains(&installation)) {
            note("mount", mount);
        }
        for pid in names_in("/proc").iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit())) {
            let read = |file: &str| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let line = String::from_utf8_lossy(&read("cmdline")).replace('\0', " ");
            let cgroup = String::from_utf8_lossy(&read("cgroup")).into_owned();
            // Ended; whoever is its parent has not taken note yet.
            if String::from_utf8_lossy(&read("stat")).contains(") Z ") {
                continue;
            }
            if cgroup.contains(&format!("/{installation}-")) || line.contains(&format!("{data}/machines")) {
                note("process", &format!("{pid}: {}", line.chars().take(100).collect::<String>()));
            }
        }
        for entry in names_in(self.data().join("machines")) {
            note("directory", &entry);
        }
        found
    }

    /// Fails the test when anything is left.
    pub fn assert_clean(&self) {
        let remains = self.remains();
        assert!(remains.is_empty(), "left on the host:\n{}", remains.join("\n"));
    }
}

impl Drop for Ground {
    /// After a test that failed: what it left must not disturb others.
    fn drop(&mut self) {
        if self.own.is_none() || !self.data().join("installation").exists() {
            return;
        }
        let _ = fs::remove_dir_all(self.data().join("machines"));
        let settings = self.settings();
        let swept = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            // The test's own may be open yet.
            if let Ok(local) = Local::open(settings) {
                let _ = runtime.block_on(local.sweep());
            }
        });
        let _ = swept.join();
    }
}

/// Fails before the k-th effect, counted from 1, as if the process had been killed there, and before all that follow.
pub struct FailAt {
    k: u32,
    seen: AtomicU32,
    last: OnceLock<String>,
    steps: Mutex<Vec<String>>,
}

impl FailAt {
    /// The step that failed; `None` when there were fewer.
    pub fn failed(&self) -> Option<&str> {
        self.last.get().map(String::as_str)
    }

    /// The steps to fail at, counted from 1, after a call that was not stopped: the first one of each kind, for time; all
    /// with `SKEP_TEST_ALL_FAULTS=1`. The same step in another hierarchy of cgroups is of the same kind.
    pub fn selection(&self) -> Vec<u32> {
        let all = std::env::var_os("SKEP_TEST_ALL_FAULTS").is_some();
        let mut kinds = BTreeSet::new();
        let kind = |step: &String| match step.split_once("/sys/fs/cgroup/") {
            Some((what, group)) => format!("{what} {}", group.split_once('/').map_or("", |(_, below)| below)),
            None => step.clone(),
        };
        let steps = self.steps.lock().unwrap();
        let numbered = (1..).zip(steps.iter());
        numbered.filter(|(_, step)| kinds.insert(kind(step)) || all).map(|(k, _)| k).collect()
    }
}

impl Steps for FailAt {
    fn before(&self, step: &str) -> Result<()> {
        if self.seen.fetch_add(1, Ordering::SeqCst) + 1 < self.k {
            self.steps.lock().unwrap().push(step.to_owned());
            return Ok(());
        }
        let _ = self.last.set(step.to_owned());
        Err(Error::Command { command: step.to_owned(), reason: "killed by the test".to_owned() })
    }
}

pub fn order(uid: &str, name: &str, zone: &str) -> Order {
    let capacity = MachineCapacity {
        cpu: "500m".into(),
        memory: "256Mi".into(),
        ephemeral_storage: "1Gi".into(),
        pods: 20,
    };
    let template = NodeTemplate {
        machine_class: "small".into(),
        version: Some("v1.36.3".into()),
        labels: Default::default(),
        taints: Vec::new(),
        kubelet: KubeletSettings::default(),
        runtimes: Vec::new(),
    };
    let cluster = ClusterFacts {
        server: "https://198.19.1.1:6443".into(),
        host: "demo-xyz.skep.internal".into(),
        authorities: String::new(),
        api_server_address: [198, 18, 0, 1].into(),
        service_cidr: "10.96.0.0/16".into(),
        pod_cidr: "10.244.0.0/16".into(),
        cluster_domain: "cluster.local".into(),
        cluster_dns: [10, 96, 0, 10].into(),
        pod_network: PodNetwork::HostGw,
        kube_proxy: KubeProxyMode::Nftables,
    };
    Order {
        uid: uid.into(),
        name: name.into(),
        namespace: "default".into(),
        cluster: "demo".into(),
        zone: zone.into(),
        class: MachineClassSpec {
            provider: Kind::Local,
            capacity: capacity.clone(),
            zones: vec![zone.into()],
            hourly_price: None,
        },
        version: "v1.36.3".parse().unwrap(),
        join: Join {
            node: name.into(),
            cluster,
            token: "abcdef.0123456789abcdef".into(),
            template,
            zone: zone.into(),
            labels: Default::default(),
            capacity,
            registry: None,
        },
    }
}

/// A machine that runs, with its agent that has done its worst.
pub async fn running(ground: &Ground, local: &Local, order: &Order) -> skep_infra::Machine {
    let machine = local.ensure(order).await.unwrap();
    assert_eq!(machine.state, State::Running);
    ready(ground, &order.uid).await;
    machine
}

/// Waits for the agent to have done its worst.
pub async fn ready(ground: &Ground, uid: &str) {
    let file = ground.machine_dir(uid).join("own/var/lib/skep/ready");
    until(&format!("{uid} is ready"), || file.exists()).await;
    fs::remove_file(file).unwrap();
}

/// Deletes until it is gone.
pub async fn delete(local: &Local, uid: &str) {
    let begin = Instant::now();
    while local.delete(uid).await.unwrap() == Deleted::Pending {
        assert!(begin.elapsed() < LONG, "{uid} does not go");
    }
}

/// What happens in other processes has no event here: looks again and again, not for ever.
pub async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !condition() {
        assert!(begin.elapsed() < LONG, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The first process of a machine, as the host sees it.
pub fn first_process(ground: &Ground, uid: &str) -> i32 {
    let text = fs::read_to_string(ground.machine_dir(uid).join("pid.json")).unwrap();
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    i32::try_from(value["pid"].as_i64().unwrap()).unwrap()
}

/// Processes in the groups of an installation's machines.
pub fn processes(installation: &str) -> Vec<i32> {
    let mut found: Vec<i32> = groups(installation)
        .iter()
        .flat_map(|group| {
            fs::read_to_string(group.join("cgroup.procs"))
                .unwrap_or_default()
                .lines()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter_map(|line| line.parse().ok())
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

/// Groups of an installation's machines, with those below them.
pub fn groups(installation: &str) -> Vec<PathBuf> {
    let roots = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let roots =
        roots.lines().filter(|line| line.contains(" - cgroup")).filter_map(|line| line.split(' ').nth(4));
    let mut rest: Vec<PathBuf> = Vec::new();
    for root in roots {
        let parent = Path::new(root).join("skep");
        let own = names_in(&parent).into_iter().filter(|name| name.starts_with(&format!("{installation}-")));
        rest.extend(own.map(|name| parent.join(name)));
    }
    let mut found = Vec::new();
    while let Some(group) = rest.pop() {
        rest.extend(names_in(&group).iter().map(|name| group.join(name)).filter(|path| path.is_dir()));
        found.push(group);
    }
    found
}

pub fn names_in(dir: impl AsRef<Path>) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Runs a program and gives its output; it must succeed.
pub fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Does something in a machine's network, on a thread that ends then.
pub fn within<T: Send>(ground: &Ground, uid: &str, work: impl FnOnce() -> T + Send) -> T {
    let namespace = File::open(format!("/proc/{}/ns/net", first_process(ground, uid))).unwrap();
    std::thread::scope(|scope| {
        let enter = || {
            let network = Some(LinkNameSpaceType::Network);
            rustix::thread::move_into_link_name_space(namespace.as_fd(), network).unwrap();
            work()
        };
        scope.spawn(enter).join().unwrap()
    })
}
