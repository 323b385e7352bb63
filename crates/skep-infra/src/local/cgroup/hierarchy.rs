//! Which hierarchies of control groups there are.

use std::{collections::BTreeSet, fs, path::PathBuf};

use skep_agent::mounts::{self, Mount};

use crate::{Error, Result};

/// A hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::local) struct Hierarchy {
    /// Where it is mounted.
    pub root: PathBuf,
    /// Whether it is version 2.
    pub unified: bool,
    /// Controllers in it.
    pub controllers: BTreeSet<String>,
}

/// All of them. In a mixed system version 2 is one hierarchy among those of version 1, without controllers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::local) struct Hierarchies(Vec<Hierarchy>);

impl Hierarchies {
    /// The hierarchies that are mounted.
    pub(in crate::local) fn mounted() -> Result<Self> {
        let mut found =
            of_mounts(mounts::all().map_err(|error| Error::Cgroups { reason: error.to_string() })?);
        for hierarchy in found.iter_mut().filter(|hierarchy| hierarchy.unified) {
            let offered = fs::read_to_string(hierarchy.root.join("cgroup.controllers")).unwrap_or_default();
            hierarchy.controllers = offered.split_whitespace().map(str::to_owned).collect();
        }
        match found.is_empty() {
            true => Err(Error::Cgroups { reason: "none are mounted".to_owned() }),
            false => Ok(Self(found)),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Hierarchy> {
        self.0.iter()
    }

    /// Whether one of them has this controller.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.0.iter().any(|hierarchy| hierarchy.controllers.contains(controller))
    }

    #[cfg(test)]
    pub(super) fn of(hierarchies: Vec<Hierarchy>) -> Self {
        Self(hierarchies)
    }
}

/// One entry for each hierarchy, however often it is mounted: the first mount is the one that people use.
fn of_mounts(mounts: Vec<Mount>) -> Vec<Hierarchy> {
    let mut seen = BTreeSet::new();
    let groups = mounts.into_iter().filter(|mount| mount.kind == "cgroup" || mount.kind == "cgroup2");
    let first = groups.filter(|mount| seen.insert(mount.device.clone()));
    let hierarchy = |mount: Mount| {
        let unified = mount.kind == "cgroup2";
        // The options of a hierarchy of version 1 are its controllers, and some that are no controllers.
        let controllers = mount.options.split(',').map(str::to_owned).filter(|_| !unified).collect();
        Hierarchy { root: mount.at, unified, controllers }
    };
    first.map(hierarchy).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIXED: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw shared:9 - cgroup cgroup rw,cpu,cpuacct
33 31 0:29 / /elsewhere rw - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime - cgroup cgroup rw,cpuset,clone_children
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw";

    #[test]
    fn every_hierarchy_is_found_once() {
        let found = of_mounts(mounts::parse(MIXED));
        let roots: Vec<_> = found.iter().map(|h| (h.root.to_str().unwrap(), h.unified)).collect();
        assert_eq!(
            roots,
            [
                ("/sys/fs/cgroup/cpu,cpuacct", false),
                ("/sys/fs/cgroup/cpuset", false),
                ("/sys/fs/cgroup/systemd", false),
                ("/sys/fs/cgroup/unified", true),
            ]
        );
        let all = Hierarchies(found);
        assert!(all.has("cpuacct") && all.has("cpuset") && !all.has("memory"));
        let error = all.check().unwrap_err();
        assert!(error.to_string().contains("the controllers memory, pids are not mounted"), "{error}");
    }
}
