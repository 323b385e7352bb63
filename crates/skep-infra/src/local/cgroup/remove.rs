//! Emptying and removing what a machine leaves.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Hierarchies;
use crate::{
    Error, Result,
    local::{hands::Hands, process::Handle},
};

/// A group can be removed a moment after its last process has ended, when the kernel has let go of it. Version 1 has no
/// event for that.
const LETTING_GO: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(5);
/// Processes that are held at a time; each takes a descriptor, of which a process has 1024 by default.
const MOST_HELD: usize = 256;
/// Groups below a machine's at most that are looked at; a node has some for each pod and container.
const MOST_GROUPS: usize = 100_000;

impl Hierarchies {
    /// Processes in a machine's groups, in any hierarchy.
    pub(in crate::local) fn processes(&self, cgroup: &str) -> Result<BTreeSet<i32>> {
        let mut found = BTreeSet::new();
        for group in self.groups(cgroup)? {
            let path = group.join("cgroup.procs");
            // A group may go while it is looked at, and a threaded one refuses: its processes are its parent's.
            let Ok(text) = fs::read_to_string(&path) else { continue };
            found.extend(
                text.lines().filter_map(|line| line.trim().parse::<i32>().ok()).filter(|pid| *pid > 0),
            );
        }
        Ok(found)
    }

    /// Takes hold of processes in a machine's groups, of a bounded number at a time. Each was in one of them *after* it was taken hold of, so that it
    /// cannot be another one with the same number.
    pub(in crate::local) fn hold(&self, cgroup: &str) -> Result<Vec<Handle>> {
        let held: Vec<_> =
            self.processes(cgroup)?.into_iter().filter_map(Handle::open).take(MOST_HELD).collect();
        let still = self.processes(cgroup)?;
        Ok(held.into_iter().filter(|handle| still.contains(&handle.pid())).collect())
    }

    /// Groups of this installation's machines, by the part of their name after the prefix.
    pub(in crate::local) fn named(&self, parent: &str, prefix: &str) -> BTreeSet<String> {
        let children = self.iter().flat_map(|h| children(&h.root.join(parent)).unwrap_or_default());
        children
            .filter_map(|path| Some(path.file_name()?.to_str()?.strip_prefix(prefix)?.to_owned()))
            .collect()
    }

    /// Removes a machine's groups with all below them; nobody may be in them any more. Then their parent, if no other
    /// machine has groups in it.
    pub(in crate::local) async fn remove(&self, hands: &Hands, cgroup: &str) -> Result<()> {
        let until = Instant::now() + LETTING_GO;
        for group in self.groups(cgroup)? {
            remove_one(hands, &group, until).await?;
        }
        if let Some((parent, _)) = cgroup.rsplit_once('/') {
            for hierarchy in self.iter() {
                // Refused while there is another machine in it. In version 1 a group without children and processes goes.
                let _ = fs::remove_dir(hierarchy.root.join(parent));
            }
        }
        Ok(())
    }

    /// A machine's groups, children before their parents.
    fn groups(&self, cgroup: &str) -> Result<Vec<PathBuf>> {
        let mut found = Vec::new();
        for hierarchy in self.iter() {
            let mut rest = vec![hierarchy.root.join(cgroup)];
            let first = found.len();
            while let Some(group) = rest.pop() {
                match children(&group) {
                    Ok(children) => rest.extend(children),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                    Err(error) => return Err(Error::file("read", group)(error)),
                }
                found.push(group);
                if found.len() > MOST_GROUPS {
                    let reason = format!("{cgroup} has more than {MOST_GROUPS} groups");
                    return Err(Error::Cgroups { reason });
                }
            }
            // Parents were found before their children.
            if let Some(own) = found.get_mut(first..) {
                own.reverse();
            }
        }
        Ok(found)
    }
}

async fn remove_one(hands: &Hands, group: &Path, until: Instant) -> Result<()> {
    hands.step(&format!("remove {}", group.display()))?;
    loop {
        match fs::remove_dir(group) {
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < until => {
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => return other.map_err(Error::file("remove", group)),
        }
    }
}

fn children(group: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(group)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
