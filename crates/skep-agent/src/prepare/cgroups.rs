//! The node's cgroup: there before the kubelet starts, with a leaf for the agent and its programs.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{Error, Result, facts::Cgroups, mounts};

/// Where the agent and its programs run: not in the node's cgroup itself, which has children with limits.
const LEAF: &str = "agent";
/// Where version 2 is mounted.
const UNIFIED: &str = "/sys/fs/cgroup";
/// Controllers that pods need, where the kernel has them.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];

/// Makes the cgroup and enters the leaf, unless whoever started the agent has seen to that: the infrastructure, or on a
/// machine of its own (`/`) the service manager. Where a cgroup namespace begins (`namespaced`), its processes are in a leaf
/// already.
pub(super) fn prepare(root: &str, namespaced: bool, version: Cgroups) -> Result<()> {
    let relative = root.trim_matches('/');
    if relative.is_empty() && namespaced && version == Cgroups::V2 {
        return delegate(Path::new(UNIFIED));
    }
    let own = fs::read_to_string("/proc/self/cgroup").map_err(Error::file("read", "/proc/self/cgroup"))?;
    if relative.is_empty() || is_below(&own, root) {
        return Ok(());
    }
    let mountinfo =
        fs::read_to_string("/proc/self/mountinfo").map_err(Error::file("read", "/proc/self/mountinfo"))?;
    match version {
        Cgroups::V2 => unified(Path::new(UNIFIED), relative),
        Cgroups::V1 => {
            hierarchies(&mountinfo).into_iter().try_for_each(|(at, cpuset)| separate(&at, relative, cpuset))
        }
    }
}

/// Whether a process with this `/proc/PID/cgroup` is in a group below `root`, as far as memory is concerned.
fn is_below(own: &str, root: &str) -> bool {
    let mut with_memory = own.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        (controllers.is_empty() || controllers.split(',').any(|name| name == "memory")).then_some(path)
    });
    // Beside the old hierarchies, the new one has no controllers and nobody need be in a group of it.
    with_memory.any(|path| Path::new(path).starts_with(root) && Path::new(path) != Path::new(root))
}

/// Mount points of version 1, and whether they have processors and memory nodes.
fn hierarchies(mountinfo: &str) -> Vec<(PathBuf, bool)> {
    let of_v1 = mounts::parse(mountinfo).into_iter().filter(|mount| mount.kind == "cgroup");
    of_v1.map(|mount| (mount.at, mount.options.split(',').any(|option| option == "cpuset"))).collect()
}

fn separate(mount: &Path, root: &str, cpuset: bool) -> Result<()> {
    let mut parent = mount.to_owned();
    for name in root.split('/').chain([LEAF]) {
        let path = parent.join(name);
        make(&path)?;
        if cpuset {
            // A new one has none, and takes no process until it has.
            ["cpuset.cpus", "cpuset.mems"].iter().try_for_each(|file| inherit(&parent, &path, file))?;
        }
        parent = path;
    }
    enter(&parent)
}

fn unified(mount: &Path, root: &str) -> Result<()> {
    let mut path = mount.to_owned();
    for name in root.split('/') {
        delegate(&path)?;
        path = path.join(name);
        make(&path)?;
    }
    delegate(&path)?;
    let leaf = path.join(LEAF);
    make(&leaf)?;
    enter(&leaf)
}

/// Lets children of a cgroup have limits.
fn delegate(path: &Path) -> Result<()> {
    let file = path.join("cgroup.controllers");
    let there = fs::read_to_string(&file).map_err(failed(&file))?;
    let wanted: Vec<String> = CONTROLLERS
        .iter()
        .filter(|name| there.split_whitespace().any(|have| have == **name))
        .map(|name| format!("+{name}"))
        .collect();
    let file = path.join("cgroup.subtree_control");
    fs::write(&file, wanted.join(" ")).map_err(failed(&file))
}

fn inherit(parent: &Path, child: &Path, file: &str) -> Result<()> {
    let (from, to) = (parent.join(file), child.join(file));
    let set = fs::read_to_string(&to).is_ok_and(|text| !text.trim().is_empty());
    if set {
        return Ok(());
    }
    let value = fs::read_to_string(&from).map_err(failed(&from))?;
    fs::write(&to, value.trim()).map_err(failed(&to))
}

fn make(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(failed(path)(error)),
        _ => Ok(()),
    }
}

/// "0" stands for the writing process.
fn enter(path: &Path) -> Result<()> {
    let file = path.join("cgroup.procs");
    fs::write(&file, "0").map_err(failed(&file))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Cgroup { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_started_us_may_have_seen_to_it() {
        for (own, below) in [
            ("4:memory:/skep/n1/system\n1:cpu:/\n0::/\n", true),
            ("0::/skep/n1/system\n", true),
            ("0::/skep/n1\n", false),
            ("4:memory:/skep/n10/system\n0::/\n", false),
            ("4:memory:/user\n1:cpu:/skep/n1/system\n0::/\n", false),
        ] {
            assert_eq!(is_below(own, "/skep/n1"), below, "{own}");
        }
    }

    #[test]
    fn old_hierarchies_are_found() {
        let lines = "30 29 0:27 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n\
                     31 29 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
                     32 29 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let expected = [("/sys/fs/cgroup/cpuset", true), ("/sys/fs/cgroup/systemd", false)];
        assert_eq!(hierarchies(lines), expected.map(|(at, cpuset)| (at.into(), cpuset)));
    }

    #[test]
    fn a_new_cpuset_has_what_its_parent_has() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("cpuset.cpus"), "0-3\n").unwrap();
        fs::write(dir.path().join("cpuset.mems"), "0\n").unwrap();
        separate(dir.path(), "skep/n1", true).unwrap();
        let node = dir.path().join("skep/n1");
        assert_eq!(fs::read_to_string(node.join("agent/cpuset.cpus")).unwrap(), "0-3");
        assert_eq!(fs::read_to_string(node.join("agent/cgroup.procs")).unwrap(), "0");
        // What somebody has narrowed stays.
        fs::write(node.join("cpuset.cpus"), "1").unwrap();
        separate(dir.path(), "skep/n1", true).unwrap();
        assert_eq!(fs::read_to_string(node.join("cpuset.cpus")).unwrap(), "1");
    }

    #[test]
    fn controllers_reach_the_nodes_children() {
        let dir = tempfile::tempdir().unwrap();
        for part in ["", "skep", "skep/n1"] {
            fs::create_dir_all(dir.path().join(part)).unwrap();
            fs::write(dir.path().join(part).join("cgroup.controllers"), "cpuset cpu memory rdma pids\n")
                .unwrap();
        }
        unified(dir.path(), "skep/n1").unwrap();
        for part in ["", "skep", "skep/n1"] {
            let control = dir.path().join(part).join("cgroup.subtree_control");
            assert_eq!(fs::read_to_string(control).unwrap(), "+cpu +cpuset +memory +pids");
        }
        assert!(!dir.path().join("skep/n1/agent/cgroup.subtree_control").exists());
        assert_eq!(fs::read_to_string(dir.path().join("skep/n1/agent/cgroup.procs")).unwrap(), "0");
    }
}
