//! Whether this machine can be a node. Looks and changes nothing; everything that is missing is named at once.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use ipnet::Ipv4Net;

use crate::{
    Error, Result,
    config::{Host, Join, KubeProxyMode, PodNetwork},
    facts, mounts,
};

/// Where programs of the machine are looked for: the usual places, also when the agent was started with fewer.
pub(crate) const PLACES: [&str; 6] =
    ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Handler of the runtime that is always there.
const RUNC: &str = "runc";
/// Controllers without which the kubelet does not start, or pods have no limits.
const V1: [&str; 6] = ["cpu", "cpuacct", "cpuset", "memory", "devices", "pids"];
const V2: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];

/// What the check has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// Programs of the OCI runtimes by handler.
    pub runtimes: BTreeMap<String, PathBuf>,
    /// Range of pods.
    pub pods: Ipv4Net,
    /// Host and port of the gateway.
    pub gateway: String,
}

/// Checks everything that can be checked by looking.
pub(crate) fn preflight(join: &Join, host: &Host) -> Result<Checked> {
    let user = nix::unistd::geteuid();
    if !user.is_root() {
        return Err(Error::NotRoot { user: user.as_raw() });
    }
    let checked = settings(join, host, find)?;
    if let Some(missing) = list(missing_programs(join, find)) {
        return Err(Error::Programs { missing });
    }
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let kernel = Kernel {
        mounts: read("/proc/self/mountinfo"),
        controllers: read("/sys/fs/cgroup/cgroup.controllers"),
        filesystems: read("/proc/filesystems"),
        modules: read(&format!("/lib/modules/{}/modules.dep", read("/proc/sys/kernel/osrelease").trim())),
    };
    if let Some(missing) = list(kernel.missing()) {
        return Err(Error::Kernel { missing });
    }
    let absent = node_programs(join, host).into_iter().filter(|path| !runs(path));
    match list(absent.map(|path| path.display().to_string()).collect()) {
        Some(missing) => Err(Error::Engine { missing }),
        None => Ok(checked),
    }
}

/// What the agent was told, as far as it must be of a certain form.
fn settings(join: &Join, host: &Host, find: impl Fn(&str) -> Option<PathBuf>) -> Result<Checked> {
    let wrong = |field, why: String| Error::Settings { node: join.node.clone(), field, why };
    let pods = join.cluster.pod_cidr.parse::<Ipv4Net>();
    let pods =
        pods.map_err(|_| wrong("podCidr", format!("{:?} is no range of addresses", join.cluster.pod_cidr)))?;
    let gateway = gateway(&join.cluster.server)
        .ok_or_else(|| wrong("server", format!("{:?} is not https://HOST:PORT", join.cluster.server)))?;
    if !host.state.is_absolute() {
        return Err(wrong("state", format!("{} is not an absolute path", host.state.display())));
    }
    if !host.cgroup_root.starts_with('/') {
        return Err(wrong("cgroupRoot", format!("{:?} does not begin with /", host.cgroup_root)));
    }
    let mut runtimes = BTreeMap::new();
    let given =
        join.template.runtimes.iter().map(|runtime| (runtime.handler.as_str(), runtime.program.as_str()));
    for (handler, program) in [(RUNC, RUNC)].into_iter().chain(given) {
        // What cannot be found is told with all the other programs.
        runtimes.insert(handler.to_owned(), find(program).unwrap_or_default());
    }
    Ok(Checked { runtimes, pods: pods.trunc(), gateway })
}

/// `host:port` of `https://host:port`.
fn gateway(server: &str) -> Option<String> {
    let authority = server.strip_prefix("https://")?.trim_end_matches('/');
    let (host, port) = authority.rsplit_once(':')?;
    (!host.is_empty() && !authority.contains('/') && port.parse::<u16>().is_ok())
        .then(|| authority.to_owned())
}

/// Programs of the machine that are needed and not found.
fn missing_programs(join: &Join, find: impl Fn(&str) -> Option<PathBuf>) -> Vec<String> {
    let mut needed = vec![RUNC, "ip", "mount", "umount", "conntrack"];
    match join.cluster.kube_proxy {
        KubeProxyMode::Nftables => needed.push("nft"),
        KubeProxyMode::Iptables => needed.extend(["iptables", "iptables-save", "iptables-restore"]),
    }
    if join.cluster.pod_network == PodNetwork::Vxlan {
        needed.push("bridge");
    }
    needed.extend(join.template.runtimes.iter().map(|runtime| runtime.program.as_str()));
    needed.into_iter().filter(|name| find(name).is_none()).map(str::to_owned).collect()
}

/// Programs that the infrastructure brings.
fn node_programs(join: &Join, host: &Host) -> Vec<PathBuf> {
    let plugins: &[&str] = match join.cluster.pod_network {
        PodNetwork::HostGw | PodNetwork::Vxlan => &["loopback", "bridge", "host-local", "portmap"],
        PodNetwork::None => &["loopback"],
    };
    let of =
        |directory: &Path, names: &[&str]| names.iter().map(|name| directory.join(name)).collect::<Vec<_>>();
    [
        of(&host.kubernetes, &["kubelet", "kube-proxy"]),
        of(&host.containerd, &["containerd", "containerd-shim-runc-v2"]),
        of(&host.cni, plugins),
    ]
    .concat()
}

/// What the kernel says of itself.
#[derive(Debug, Default)]
struct Kernel {
    /// `/proc/self/mountinfo`.
    mounts: String,
    /// `cgroup.controllers` at the root of version 2.
    controllers: String,
    /// `/proc/filesystems`.
    filesystems: String,
    /// `modules.dep`: what could be loaded.
    modules: String,
}

impl Kernel {
    fn missing(&self) -> Vec<String> {
        let mounts = mounts::parse(&self.mounts);
        let unified = facts::is_unified(&mounts);
        let there = |controller: &str| match unified {
            true => self.controllers.split_whitespace().any(|name| name == controller),
            false => mounts.iter().any(|mount| {
                mount.kind == "cgroup" && mount.options.split(',').any(|option| option == controller)
            }),
        };
        let needed: &[&str] = if unified { &V2 } else { &V1 };
        let mut missing: Vec<String> = needed
            .iter()
            .filter(|name| !there(name))
            .map(|name| format!("cgroup controller {name}"))
            .collect();
        let known =
            self.filesystems.lines().any(|line| line.split_whitespace().next_back() == Some("overlay"));
        let loadable = self.modules.lines().any(|line| line.contains("/overlay.ko"));
        if !known && !loadable {
            missing.push("file system overlay".to_owned());
        }
        missing
    }
}

/// A program of the machine: its path, or where it is found.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|path| runs(path));
    }
    PLACES.iter().map(|place| Path::new(place).join(program)).find(|path| runs(path))
}

fn runs(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn list(names: Vec<String>) -> Option<String> {
    (!names.is_empty()).then(|| names.join(", "))
}

#[cfg(test)]
mod tests;
