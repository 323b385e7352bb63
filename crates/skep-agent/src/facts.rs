//! What the agent finds out about its machine before it writes anything.

use std::{
    fs::{self, OpenOptions},
    net::IpAddr,
    path::{Path, PathBuf},
};

use nix::sys::statvfs::statvfs;

use crate::{
    Result,
    config::Host,
    error::Error,
    mounts::{self, MOUNTS, Mount},
};

/// Number of CAP_SYS_RESOURCE (`include/uapi/linux/capability.h`).
const CAP_SYS_RESOURCE: u32 = 24;
/// Writing needs the first network namespace and a writable `/proc/sys`.
const CONNTRACK_MAX: &str = "/proc/sys/net/netfilter/nf_conntrack_max";
/// Where systemd-resolved says whom it asks itself.
const RESOLVED: &str = "/run/systemd/resolve/resolv.conf";

/// Which kind of cgroups the machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cgroups {
    /// A hierarchy for each controller.
    V1,
    /// One hierarchy.
    V2,
}

/// The machine as the agent finds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The agent is the first process of a pid namespace and has the others too: what it mounts is nobody else's, and
    /// whatever ran before has ended.
    pub isolated: bool,
    /// Others use the machine's memory and disk too: its figures say nothing about the node.
    pub shared: bool,
    /// Processors.
    pub cpus: u64,
    /// Memory in bytes.
    pub memory: u64,
    /// Size in bytes of the file system that the state is on.
    pub disk: u64,
    /// Kind of cgroups.
    pub cgroups: Cgroups,
    /// May OOM scores be lowered and limits raised?
    pub may_raise: bool,
    /// May the limits of connection tracking be set?
    pub may_set_conntrack: bool,
    /// The machine's `resolv.conf`, if it is of use to pods.
    pub resolv_conf: Option<PathBuf>,
}

impl Facts {
    /// Looks at the machine. Changes nothing; `host.state` need not be there yet.
    pub(crate) fn gather(host: &Host) -> Result<Self> {
        let shared = host.shared;
        let status = read("/proc/self/status")?;
        Ok(Self {
            isolated: std::process::id() == 1,
            shared,
            cpus: processors(&read("/proc/cpuinfo")?),
            memory: memory(&read("/proc/meminfo")?),
            disk: disk(&host.state)?,
            cgroups: cgroups(&read(MOUNTS)?),
            may_raise: has_capability(&status, CAP_SYS_RESOURCE),
            may_set_conntrack: has_capability(&status, CAP_SYS_RESOURCE)
                && OpenOptions::new().write(true).open(CONNTRACK_MAX).is_ok(),
            // From a machine of our own making there is no way to a name server.
            resolv_conf: if shared { None } else { resolv_conf() },
        })
    }
}

fn read(path: &str) -> Result<String> {
    fs::read_to_string(path).map_err(Error::file("read", path))
}

/// Lines of `/proc/cpuinfo` that begin a processor.
fn processors(cpuinfo: &str) -> u64 {
    let count =
        cpuinfo.lines().filter(|line| line.split(':').next().map(str::trim) == Some("processor")).count();
    u64::try_from(count).unwrap_or(1).max(1)
}

/// `MemTotal` in bytes.
fn memory(meminfo: &str) -> u64 {
    let kib = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}

/// Size of the file system of a directory, or of the nearest parent that is there.
fn disk(path: &Path) -> Result<u64> {
    let there = path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    let stat = statvfs(there).map_err(|errno| Error::file("look at", there)(errno.into()))?;
    Ok(stat.fragment_size() * stat.blocks())
}

fn cgroups(mountinfo: &str) -> Cgroups {
    if is_unified(&mounts::parse(mountinfo)) { Cgroups::V2 } else { Cgroups::V1 }
}

/// Whether cgroups are of version 2 only.
pub(crate) fn is_unified(mounts: &[Mount]) -> bool {
    mounts.iter().any(|mount| mount.at == Path::new("/sys/fs/cgroup") && mount.kind == "cgroup2")
}

/// Whether a capability is effective, by `/proc/PID/status`.
fn has_capability(status: &str, number: u32) -> bool {
    let set =
        status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("CapEff:")?.trim(), 16).ok());
    set.unwrap_or(0) & (1 << number) != 0
}

/// What pods should ask when they want the machine's name servers: not a resolver that only the machine itself reaches.
fn resolv_conf() -> Option<PathBuf> {
    let usual = Path::new("/etc/resolv.conf");
    [usual, Path::new(RESOLVED)]
        .into_iter()
        .find(|path| fs::read_to_string(path).is_ok_and(|text| has_remote_server(&text)))
        .map(Path::to_path_buf)
}

fn has_remote_server(resolv_conf: &str) -> bool {
    let servers = resolv_conf.lines().filter_map(|line| line.trim().strip_prefix("nameserver"));
    servers.filter_map(|server| server.trim().parse::<IpAddr>().ok()).any(|server| !server.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_as_the_kernel_writes_them() {
        let cpuinfo = "processor\t: 0\nmodel name\t: a processor: fast\n\nprocessor\t: 1\n";
        assert_eq!(processors(cpuinfo), 2);
        assert_eq!(processors(""), 1);
        assert_eq!(memory("MemTotal:       24689932 kB\nMemFree: 1 kB\n"), 24_689_932 * 1024);
        assert!(has_capability("Name:\tx\nCapEff:\t000001ffffffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("Name:\tx\nCapEff:\t000001fffeffffff\n", CAP_SYS_RESOURCE));
        assert!(!has_capability("", CAP_SYS_RESOURCE));
    }

    #[test]
    fn a_second_hierarchy_beside_the_old_ones_is_version_one() {
        let unified = "29 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate";
        let hybrid = "30 29 0:27 / /sys/fs/cgroup/memory rw shared:5 - cgroup cgroup rw,memory\n\
                      31 29 0:28 / /sys/fs/cgroup/unified rw shared:6 - cgroup2 cgroup2 rw";
        assert_eq!(cgroups(unified), Cgroups::V2);
        assert_eq!(cgroups(hybrid), Cgroups::V1);
    }

    #[test]
    fn a_resolver_on_loopback_is_of_no_use_to_pods() {
        assert!(has_remote_server("# x\nsearch a\nnameserver 192.0.2.1\n"));
        assert!(!has_remote_server("nameserver 127.0.0.53\nnameserver ::1\n"));
        assert!(!has_remote_server(""));
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let host: Host = crate::build::testing::host();
        let facts = Facts::gather(&host).unwrap();
        assert!(!facts.isolated && facts.shared && facts.memory > 0 && facts.disk > 0);
    }
}
