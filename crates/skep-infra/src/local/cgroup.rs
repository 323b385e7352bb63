//! Control groups of machines, in every hierarchy that is mounted: version 1, version 2, or both.
//!
//! A machine has one directory (`skep/<name>`) in each hierarchy, which carries its limits and is the root of what the machine
//! sees: its cgroup namespace begins there. Its own programs run in a leaf of it, because in version 2 a group with children
//! that are limited may hold no processes.

mod hierarchy;
mod remove;

use std::{io, path::Path};

pub(super) use hierarchy::Hierarchies;

use super::{hands::Hands, limits::Limits};
use crate::{Error, Result};

/// The leaf of the machine's own programs, as `settle.sh` has it.
const LEAF: &str = "system";
/// What a kubelet cannot do without (`pkg/kubelet/cm`, `getCgroupRequiredControllers` and the checks of version 1).
const NEEDED: [&str; 4] = ["cpu", "cpuset", "memory", "pids"];
/// What is handed on to machines in version 2, where it is there.
const HANDED_ON: [&str; 6] = ["cpu", "cpuset", "memory", "pids", "io", "hugetlb"];
/// Period of processor limits in microseconds, the kernel's default.
const PERIOD: u64 = 100_000;
/// Shares of one processor in version 1, the kernel's default for a group, and the least there can be.
const SHARES: u64 = 1024;
const LEAST_SHARES: u64 = 2;
/// Another installation may remove the common parent while we make a group in it, as often as its last machine goes.
const ATTEMPTS: usize = 5;

impl Hierarchies {
    /// Whether everything is there that a node needs, by name.
    pub(super) fn check(&self) -> Result<()> {
        let missing: Vec<_> = NEEDED.into_iter().filter(|name| !self.has(name)).collect();
        match missing.as_slice() {
            [] => Ok(()),
            missing => {
                let reason = format!("the controllers {} are not mounted", missing.join(", "));
                Err(Error::Cgroups { reason })
            }
        }
    }

    /// Makes a machine's groups with its limits, unless they are there.
    pub(super) fn make(&self, hands: &Hands, cgroup: &str, limits: Limits) -> Result<()> {
        let gone = |error: &Error| matches!(error, Error::File { source, .. } if is_gone(source));
        for _ in 1..ATTEMPTS {
            match self.try_make(hands, cgroup, limits) {
                Err(error) if gone(&error) => {}
                other => return other,
            }
        }
        self.try_make(hands, cgroup, limits)
    }

    fn try_make(&self, hands: &Hands, cgroup: &str, limits: Limits) -> Result<()> {
        for hierarchy in self.iter() {
            let leaf = format!("{cgroup}/{LEAF}");
            let mut at = hierarchy.root.clone();
            for part in leaf.split('/') {
                // In version 2 a group can only limit what its parent hands on. The machine itself hands on: its first
                // process passes through this group, which no process may when it does.
                if hierarchy.unified && part != LEAF {
                    hand_on(hands, &at)?;
                }
                at.push(part);
                hands.make_dir(&at, 0o755)?;
                // In version 1 a group without processors and memory nodes takes no process.
                for file in ["cpuset.cpus", "cpuset.mems"] {
                    inherit(hands, &at, file)?;
                }
            }
            for (file, value) in values(limits) {
                let path = hierarchy.root.join(cgroup).join(file);
                if path.exists() {
                    hands.set(&path, &value)?;
                }
            }
        }
        Ok(())
    }

    /// Where they are mounted.
    pub(super) fn roots(&self) -> impl Iterator<Item = &Path> {
        self.iter().map(|hierarchy| hierarchy.root.as_path())
    }
}

/// A group that is not there, or that went after its file was opened.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::NODEV.raw_os_error())
}

/// The limits as the files of both versions take them; a hierarchy has those of its controllers. In version 1 processors are
/// shared and not limited: there a pod cannot have a higher limit than its machine (the kernel refuses it), which upstream
/// allows and pods ask for.
fn values(limits: Limits) -> Vec<(&'static str, String)> {
    let shares = (limits.cpu_milli.saturating_mul(SHARES) / 1000).max(LEAST_SHARES);
    let quota = (limits.cpu_milli.saturating_mul(PERIOD) / 1000).max(1000);
    vec![
        ("cpu.shares", shares.to_string()),
        ("cpu.max", format!("{quota} {PERIOD}")),
        ("memory.limit_in_bytes", pages(limits.memory_bytes).to_string()),
        ("memory.max", pages(limits.memory_bytes).to_string()),
        // A node counts its memory without swap.
        ("memory.swap.max", "0".to_owned()),
        ("pids.max", limits.pids.to_string()),
    ]
}

/// The kernel rounds down to its pages; a value that it gives back as it was set needs to be set once only.
fn pages(bytes: u64) -> u64 {
    bytes & !0xffff
}

fn hand_on(hands: &Hands, group: &Path) -> Result<()> {
    let read = |file: &str| std::fs::read_to_string(group.join(file)).unwrap_or_default();
    let (offered, on) = (read("cgroup.controllers"), read("cgroup.subtree_control"));
    let has = |text: &str, name: &str| text.split_whitespace().any(|word| word == name);
    for name in HANDED_ON.into_iter().filter(|name| has(&offered, name) && !has(&on, name)) {
        hands.step(&format!("hand {name} on in {}", group.display()))?;
        std::fs::write(group.join("cgroup.subtree_control"), format!("+{name}")).map_err(|error| {
            let hint = "if processes are in it, name a delegated subtree for machines in the settings";
            Error::Cgroups {
                reason: format!("{name} cannot be handed on in {}: {error}; {hint}", group.display()),
            }
        })?;
    }
    Ok(())
}

/// Fills a file of a new group with what its parent has.
fn inherit(hands: &Hands, group: &Path, file: &str) -> Result<()> {
    let path = group.join(file);
    // Version 2 has this file too, where empty means the parent's.
    if !path.exists() || group.join("cgroup.controllers").exists() {
        return Ok(());
    }
    let read = |path: &Path| std::fs::read_to_string(path).map_err(Error::file("read", path));
    if !read(&path)?.trim().is_empty() {
        return Ok(());
    }
    let parent = group.parent().unwrap_or(Path::new("/")).join(file);
    hands.set(&path, read(&parent)?.trim())
}

#[cfg(test)]
mod tests;
