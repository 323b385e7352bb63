//! Everything that must be there before the first program starts. Every step may be repeated.

mod cgroups;
mod directories;
mod leftovers;
mod limits;
mod lock;
mod mounts;
mod network;
mod sysctls;
mod write;

pub(crate) use lock::Lock;
pub(crate) use network::{PATIENCE, load_modules};

use crate::{Result, node::Node};

/// Makes the machine ready for its programs.
pub(crate) async fn prepare(node: &Node) -> Result<()> {
    limits::set();
    if !node.facts.isolated {
        leftovers::end(&node.layout).await?;
    }
    directories::prepare(node)?;
    mounts::prepare(node)?;
    write::configuration(node)?;
    cgroups::prepare(&node.host.cgroup_root, node.facts.isolated, node.facts.cgroups)?;
    sysctls::prepare(node)?;
    network::prepare(node).await
}
