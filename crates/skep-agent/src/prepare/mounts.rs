//! Parts of the node's directory at the places where programs look for them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use nix::mount::{MsFlags, mount};

use super::directories::mount_point;
use crate::{
    Error, Result,
    config::PodNetwork,
    layout::{FOREIGN_CNI_CONFIG, FOREIGN_CNI_PROGRAMS, KUBELET, Layout, POD_LOGS},
    mounts::{MOUNTS, parse},
    node::Node,
};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Mount {
    /// A directory at another place as well.
    Bind(PathBuf, PathBuf),
    /// What is mounted here or below later appears in namespaces that are made from this one, and back: drivers mount
    /// volumes for pods.
    Shared(PathBuf),
}

/// Makes the mounts. On a machine of its own, what is mounted already was mounted by an earlier agent; in a namespace of
/// its own there was none, and what the host has mounted there is hidden at most.
pub(super) fn prepare(node: &Node) -> Result<()> {
    let mounts = mounts(&node.layout, node.facts.isolated, node.join.cluster.pod_network);
    let mounted = match node.facts.isolated {
        true => String::new(),
        false => fs::read_to_string(MOUNTS).map_err(Error::file("read", MOUNTS))?,
    };
    missing(&mounts, &mounted).into_iter().try_for_each(make)
}

fn mounts(layout: &Layout, isolated: bool, network: PodNetwork) -> Vec<Mount> {
    let mut mounts = vec![
        Mount::Bind(layout.kubelet(), KUBELET.into()),
        Mount::Shared(KUBELET.into()),
        Mount::Bind(layout.pod_logs(), POD_LOGS.into()),
    ];
    if isolated && network == PodNetwork::None {
        // Several nodes see these places of the host.
        mounts.push(Mount::Bind(layout.cni("conf"), FOREIGN_CNI_CONFIG.into()));
        mounts.push(Mount::Bind(layout.cni("bin"), FOREIGN_CNI_PROGRAMS.into()));
    }
    mounts
}

/// Those that are not in this `/proc/self/mountinfo`.
fn missing<'a>(mounts: &'a [Mount], mountinfo: &str) -> Vec<&'a Mount> {
    let mounted = parse(mountinfo);
    let there = |path: &Path| mounted.iter().any(|mount| mount.at == path);
    mounts.iter().filter(|mount| matches!(mount, Mount::Shared(_)) || !there(mount.at())).collect()
}

impl Mount {
    fn at(&self) -> &Path {
        match self {
            Self::Bind(_, at) | Self::Shared(at) => at,
        }
    }
}

fn make(wanted: &Mount) -> Result<()> {
    let at = wanted.at();
    mount_point(at)?;
    let none = None::<&str>;
    let made = match wanted {
        Mount::Bind(from, _) => mount(Some(from.as_path()), at, none, MsFlags::MS_BIND, none),
        Mount::Shared(_) => mount(none, at, none, MsFlags::MS_SHARED | MsFlags::MS_REC, none),
    };
    made.map_err(|errno| Error::Mount { at: at.to_owned(), source: errno.into() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        Layout::new(Path::new("/var/lib/skep"))
    }

    #[test]
    fn an_agent_that_comes_again_mounts_nothing_twice() {
        let mounts = mounts(&layout(), false, PodNetwork::HostGw);
        let line = |at: &str| format!("36 35 98:0 /x {at} rw shared:1 - ext4 /dev/root rw\n");
        assert_eq!(missing(&mounts, &line("/")).len(), 3);
        let again = missing(&mounts, &(line(KUBELET) + &line(POD_LOGS)));
        assert_eq!(again, [&Mount::Shared(KUBELET.into())]);
    }

    #[test]
    fn nodes_of_one_host_do_not_share_the_configuration_of_another_cni() {
        let places = |isolated| {
            let mounts = mounts(&layout(), isolated, PodNetwork::None);
            mounts.iter().map(|mount| mount.at().display().to_string()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(places(false), "/var/lib/kubelet /var/lib/kubelet /var/log/pods");
        assert_eq!(places(true), format!("{} /etc/cni/net.d /opt/cni/bin", places(false)));
    }
}
