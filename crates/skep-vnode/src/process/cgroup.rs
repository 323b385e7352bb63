//! Limits that hold, where the system has delegated a cgroup (version 2) to us.
//!
//! A subtree counts as delegated when it belongs to our user, or for root when systemd has marked it so
//! (`Delegate=yes`); nothing else is touched. Cgroups with children may hold no processes, so our own process moves
//! into a leaf beside the containers first, and back when the rest does not work. Without a delegated subtree there is
//! none of this: limits are accounted for and reported, nothing holds them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use crate::quantity;

/// Where version 2 is mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Our own leaf.
const OWN: &str = "skep-self";
/// Period of `cpu.max` in microseconds (the kubelet's default `cpuCFSQuotaPeriod`).
const PERIOD: i64 = 100_000;
/// Smallest CPU shares and milli-CPU per 1024 shares (`pkg/kubelet/cm/helpers_linux.go`).
const MIN_SHARES: i64 = 2;
const MAX_SHARES: i64 = 262_144;

/// Whether to use cgroups.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CgroupMode {
    /// Where a delegated subtree is found.
    #[default]
    Auto,
    /// Never.
    Off,
    /// Below this directory, which must be a cgroup without processes that we may write to.
    Below(PathBuf),
}

/// The cgroup that holds the containers of a node.
#[derive(Clone, Debug)]
pub(super) struct CgroupRoot {
    path: PathBuf,
}

/// The cgroup of one container.
#[derive(Clone, Debug)]
pub(super) struct Cgroup {
    path: PathBuf,
}

/// Use of a cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Usage {
    pub cpu: Duration,
    /// Without inactive file pages, as the kubelet computes the working set.
    pub working_set: u64,
}

impl CgroupRoot {
    /// Finds or makes the place for a node's containers.
    pub(super) fn find(mode: &CgroupMode, node: &str) -> Option<Self> {
        let parent = match mode {
            CgroupMode::Off => return None,
            CgroupMode::Below(path) => path.clone(),
            CgroupMode::Auto => delegated()?,
        };
        let path = parent.join(format!("skep-{node}"));
        let made = enable(&parent).and_then(|()| make(&path)).and_then(|()| enable(&path));
        match made {
            Ok(()) => Some(Self { path }),
            Err(error) => {
                tracing::info!(path = %path.display(), %error, "limits are accounted for but not enforced");
                None
            }
        }
    }

    /// The cgroup of one container, made when it is missing, with these limits.
    pub(super) fn container(
        &self,
        pod: &str,
        container: &str,
        resources: Option<&ResourceRequirements>,
    ) -> io::Result<Cgroup> {
        let cgroup = Cgroup { path: self.path.join(format!("{pod}-{container}")) };
        make(&cgroup.path)?;
        cgroup.set(resources)?;
        Ok(cgroup)
    }

    /// The same without making anything; `None` when there is none.
    pub(super) fn existing(&self, pod: &str, container: &str) -> Option<Cgroup> {
        let path = self.path.join(format!("{pod}-{container}"));
        path.is_dir().then_some(Cgroup { path })
    }
}

impl Cgroup {
    /// Its list of processes, open so that a child can enter.
    pub(super) fn entry(&self) -> io::Result<OwnedFd> {
        Ok(OpenOptions::new().write(true).open(self.path.join("cgroup.procs"))?.into())
    }

    /// Changes the limits of what runs in it.
    pub(super) fn set(&self, resources: Option<&ResourceRequirements>) -> io::Result<()> {
        for (file, value) in settings(resources) {
            std::fs::write(self.path.join(file), value)
                .map_err(|e| io::Error::new(e.kind(), format!("{file}: {e}")))?;
        }
        Ok(())
    }

    /// Kills everything in it, and removes it when nothing is left.
    pub(super) fn destroy(&self) {
        // Linux before 5.14 has no `cgroup.kill`; processes are found by their marker as well.
        let _ = std::fs::write(self.path.join("cgroup.kill"), "1");
        let _ = std::fs::remove_dir(&self.path);
    }

    /// Whether the kernel has killed something in it for want of memory.
    pub(super) fn ran_out_of_memory(&self) -> bool {
        let events = std::fs::read_to_string(self.path.join("memory.events")).unwrap_or_default();
        events.lines().any(|line| line.strip_prefix("oom_kill ").is_some_and(|count| count != "0"))
    }

    /// What it uses.
    pub(super) fn usage(&self) -> Option<Usage> {
        let number = |text: &str, key: &str| {
            text.lines().find_map(|l| l.strip_prefix(key)?.trim().parse::<u64>().ok())
        };
        let read = |file: &str| std::fs::read_to_string(self.path.join(file)).ok();
        let cpu = number(&read("cpu.stat")?, "usage_usec ")?;
        let memory: u64 = read("memory.current")?.trim().parse().ok()?;
        let inactive = number(&read("memory.stat")?, "inactive_file ").unwrap_or(0);
        Some(Usage { cpu: Duration::from_micros(cpu), working_set: memory.saturating_sub(inactive) })
    }
}

/// Which file gets which text.
fn settings(resources: Option<&ResourceRequirements>) -> Vec<(&'static str, String)> {
    let (limits, requests) =
        (resources.and_then(|r| r.limits.as_ref()), resources.and_then(|r| r.requests.as_ref()));
    let get = |list: Option<&BTreeMap<String, Quantity>>, name: &str, count: fn(&Quantity) -> Option<i64>| {
        list.and_then(|l| l.get(name)).and_then(count).filter(|amount| *amount > 0)
    };
    let cpu = get(limits, "cpu", quantity::milli);
    let memory = get(limits, "memory", quantity::units);
    let wanted = get(requests, "cpu", quantity::milli).or(cpu).unwrap_or(0);
    let shares = (wanted.saturating_mul(1024) / 1000).clamp(MIN_SHARES, MAX_SHARES);
    // How container runtimes turn shares into a weight from 1 to 10000.
    let weight = 1 + (shares - MIN_SHARES) * 9999 / (MAX_SHARES - MIN_SHARES);
    let quota = cpu.map_or_else(
        || "max".to_owned(),
        |milli| (milli.saturating_mul(PERIOD) / 1000).max(1000).to_string(),
    );
    vec![
        ("cpu.weight", weight.to_string()),
        ("cpu.max", format!("{quota} {PERIOD}")),
        ("memory.max", memory.map_or_else(|| "max".to_owned(), |bytes| bytes.to_string())),
    ]
}

fn make(path: &Path) -> io::Result<()> {
    match std::fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Lets children have limits of CPU and memory.
fn enable(path: &Path) -> io::Result<()> {
    std::fs::write(path.join("cgroup.subtree_control"), "+cpu +memory")
}

/// The delegated cgroup we are in, with our own process moved into a leaf of it.
fn delegated() -> Option<PathBuf> {
    let own = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|l| l.strip_prefix("0::/"))?;
    let here = Path::new(MOUNT).join(own);
    // Another node of this process, or an earlier run, has been here.
    if here.file_name().is_some_and(|n| n == OWN) {
        return here.parent().map(Path::to_path_buf);
    }
    if !is_delegated(&here) {
        return None;
    }
    let leaf = here.join(OWN);
    let me = std::process::id().to_string();
    let moved = make(&leaf)
        .and_then(|()| std::fs::write(leaf.join("cgroup.procs"), &me))
        .and_then(|()| enable(&here));
    if let Err(error) = moved {
        tracing::info!(path = %here.display(), %error, "this cgroup cannot be divided");
        let _ = std::fs::write(here.join("cgroup.procs"), &me);
        let _ = std::fs::remove_dir(&leaf);
        return None;
    }
    Some(here)
}

fn is_delegated(path: &Path) -> bool {
    let Ok(meta) = std::fs::metadata(path) else { return false };
    let user = rustix::process::geteuid();
    if !user.is_root() {
        return meta.uid() == user.as_raw();
    }
    let mut value = [0u8; 4];
    ["trusted.delegate", "user.delegate"].iter().any(|name| {
        rustix::fs::getxattr(path, *name, &mut value[..]).is_ok_and(|n| value.get(..n) == Some(b"1"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(json: serde_json::Value) -> ResourceRequirements {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn settings_follow_container_runtimes() {
        let text = |r: Option<&ResourceRequirements>| {
            settings(r).iter().map(|(f, v)| format!("{f}={v}")).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(text(None), "cpu.weight=1 cpu.max=max 100000 memory.max=max");
        let some = resources(
            serde_json::json!({"requests": {"cpu": "250m"}, "limits": {"cpu": "1500m", "memory": "64Mi"}}),
        );
        assert_eq!(text(Some(&some)), "cpu.weight=10 cpu.max=150000 100000 memory.max=67108864");
        let limit_only = resources(serde_json::json!({"limits": {"cpu": "1"}}));
        assert_eq!(text(Some(&limit_only)), "cpu.weight=39 cpu.max=100000 100000 memory.max=max");
    }

    #[test]
    fn a_container_gets_a_place_limits_and_figures() {
        let dir = tempfile::tempdir().unwrap();
        let root = CgroupRoot::find(&CgroupMode::Below(dir.path().into()), "n1").unwrap();
        assert!(root.existing("u", "c").is_none());
        let cgroup = root.container("u", "c", None).unwrap();
        let own = dir.path().join("skep-n1/u-c");
        assert_eq!(std::fs::read_to_string(own.join("memory.max")).unwrap(), "max");
        for (file, text) in [
            ("cpu.stat", "usage_usec 1500\nuser_usec 1\n"),
            ("memory.current", "5000\n"),
            ("memory.stat", "anon 1\ninactive_file 1000\n"),
        ] {
            std::fs::write(own.join(file), text).unwrap();
        }
        assert_eq!(cgroup.usage(), Some(Usage { cpu: Duration::from_micros(1500), working_set: 4000 }));
        assert!(root.existing("u", "c").is_some());
    }

    #[test]
    fn nothing_is_touched_when_off_or_not_possible() {
        assert!(CgroupRoot::find(&CgroupMode::Off, "n").is_none());
        assert!(CgroupRoot::find(&CgroupMode::Below("/no/such/place".into()), "n").is_none());
    }
}
